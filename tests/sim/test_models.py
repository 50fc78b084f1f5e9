"""The shipped models, the model file format, and reading and writing models."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Kind, Provenance
from sim.model.library import (
    load_model,
    load_spec,
    model_names,
    requantized,
    save_model,
    with_kv_type,
)
from sim.model.model import Attention, Indexer, Layer, Model, State, TensorClass
from sim.model.quantization import FORMATS, SCHEMES
from sim.model.spec import explicit_spec
from tests.sim.model_files import check_file
from tests.sim.plain_count import flat, plain_total

REQUIRED = [
    "mixtral-8x7b",
    "mixtral-8x22b",
    "phi-3.5-moe",
    "qwen1.5-moe-a2.7b",
    "qwen3-30b-a3b",
    "qwen3-235b-a22b",
    "deepseek-v2-lite",
    "deepseek-v3",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "olmoe-1b-7b",
    "glm-4.5-air",
    "llama-4-scout",
    "kimi-k2",
    "granite-3-3b-a800m",
    "granite-3-1b-a400m",
    "llama-3.1-8b",
    "llama-3-70b",
    "llama-3.3-70b",
    "qwen2.5-72b",
    "qwen3-next-80b-a3b",
    "lfm2-8b-a1b",
    "minimax-m2",
    "nemotron-3-nano-30b-a3b",
    "qwen3-8b",
    "qwen3.5-35b-a3b",
    "qwen3.6-35b-a3b",
    "glm-4.7-flash",
    "glm-5",
    "deepseek-v4-flash",
    "qwen3.8-flash-next",
    "llama-4-maverick",
    "qwen3.5-397b-a17b",
    "qwen3.5-122b-a10b",
    "ernie-4.5-21b-a3b",
    "qwen3-coder-480b-a35b",
    "glm-5.2",
    "deepseek-v3.2",
    "qwen3-32b",
    "qwen3.5-27b",
    "gemma-4-26b-a4b",
    "mimo-v2-flash",
    "glm-4.6",
    "nemotron-3-super-120b-a12b",
    "deepseek-v4-pro",
    "granite-4.0-h-small",
    "granite-4.0-h-tiny",
    "granite-4.0-h-micro",
    "hunyuan-a13b",
    "ling-lite-1.5",
    "ling-mini-2.0",
    "ling-flash-2.0",
    "ling-1t",
    "ring-mini-linear-2.0",
    "ling-2.6-flash",
    "ling-3.0-flash",
    "kimi-linear-48b-a3b",
    "grok-2",
    "step-3.5-flash",
    "dots.llm1",
    "jamba-mini",
    "jamba-large",
    "dbrx",
    "ernie-4.5-300b-a47b",
    "qwen2-57b-a14b",
    "qwen3-14b",
    "qwen3-4b",
    "qwen3-1.7b",
    "qwen3-0.6b",
    "moonlight-16b-a3b",
    "deepseek-v2",
    "nemotron-3-ultra-550b-a55b",
    "gemma-4-31b",
    "gemma-3-4b",
    "gemma-3-12b",
    "gemma-3-27b",
    "llama-3.1-405b",
    "qwen3.5-9b",
    "minimax-m3",
    "mistral-small-4-119b",
    "solar-open-100b",
    "hy3-preview",
]

PUBLISHED_TOLERANCE = 0.005

WITHOUT_HEADS = {
    "num_heads": 0,
    "kv_elements_per_token": 2048,
    "score_elements": 4096,
    "value_elements": 4096,
}


def test_the_library_holds_the_named_models() -> None:
    """Each model that the documentation names ships."""
    assert set(REQUIRED) == set(model_names())


@pytest.mark.parametrize("name", REQUIRED)
def test_totals_equal_what_is_published(name: str) -> None:
    """Total and active weights are within 0.5 % of every published figure in the model's file."""
    model, spec = load_model(name), load_spec(name)
    assert spec.published, f"{name} states no published total"
    for published in spec.published:
        assert model.total_params == pytest.approx(
            published.total_params, rel=PUBLISHED_TOLERANCE
        ), published.source
        if published.active_params is not None:
            assert model.active_params == pytest.approx(
                published.active_params, rel=PUBLISHED_TOLERANCE
            ), published.source


@pytest.mark.parametrize("name", REQUIRED)
def test_totals_equal_an_independent_count(name: str) -> None:
    """To the weight: plain sums over the shapes in the model's file."""
    config = load_spec(name).config
    assert config is not None
    family = load_model(name).family
    assert plain_total({**flat(config), "model_type": family}) == load_model(name).total_params


@pytest.mark.parametrize("name", REQUIRED)
def test_a_file_is_named_as_its_model_and_cites_its_source(name: str) -> None:
    """Name, provenance and native scheme of the model are those of its file."""
    model, spec = load_model(name), load_spec(name)
    assert model.name == spec.name == name
    assert "huggingface.co" in model.provenance.source and model.provenance.kind is Kind.PUBLISHED
    assert model.quantization == spec.quantization


@pytest.mark.parametrize("name", REQUIRED)
def test_a_layer_that_routes_has_a_router_and_experts(name: str) -> None:
    """And bytes for each of its classes.

    Nemotron's layers may have neither experts nor a dense block, Gemma's have both.
    """
    for layer in load_model(name).layers:
        assert (TensorClass.EXPERT in layer.params) == layer.is_moe
        assert (TensorClass.ROUTER in layer.params) == layer.is_moe
        assert set(layer.params) == set(layer.bytes)
        assert 0 < layer.top_k <= layer.num_experts or not layer.is_moe


def test_the_reference_table_is_current() -> None:
    """The table in the reference has a row for each shipped model with its computed total and KV
    bytes.
    """
    page = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
    rows = {
        line.split("`")[1]: line
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and line.count("|") == 12
    }
    assert set(rows) == set(model_names())
    for name, row in rows.items():
        model = load_model(name)
        assert (
            f"| {model.total_params:,} |" in row and f"| {model.kv_bytes_per_token:,} |" in row
        ), name


def test_mixtral_is_exact() -> None:
    """Mixtral-8x7B by hand: 8 experts of 3·4096·14336 weights in 32 layers, the rest 1.6056
    billion.
    """
    model = load_model("mixtral-8x7b")
    assert model.total_params == 46_702_792_704
    assert model.expert_params == 3 * 4096 * 14336 == 176_160_768
    assert model.expert_bytes == 352_321_536
    assert model.non_expert_params == 46_702_792_704 - 32 * 8 * 176_160_768 == 1_605_636_096
    assert model.total_bytes == 2 * model.total_params
    assert model.kv_bytes_per_token == 128 * 1024


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("mixtral-8x7b", 32 * 2 * 8 * 128 * 2),
        ("deepseek-v3", 61 * 576 * 2),
        ("deepseek-v2-lite", 27 * 576 * 2),
        ("kimi-k2", 61 * 576 * 2),
        ("qwen3-30b-a3b", 48 * 2 * 4 * 128 * 2),
        ("granite-3-3b-a800m", 32 * 2 * 8 * 64 * 2),
        ("llama-3.1-8b", 131_072),
        ("llama-3.3-70b", 320 * 1024),
        ("qwen2.5-72b", 320 * 1024),
    ],
)
def test_kv_bytes_of_a_token(name: str, kv_bytes: int) -> None:
    """KV bytes a token by hand: keys and values of all heads, or the latent and the rotary key with
    MLA.
    """
    assert load_model(name).kv_bytes_per_token == kv_bytes


def test_windows_bound_the_kv_cache() -> None:
    """gpt-oss keeps 128 tokens in every other layer from the first on; Scout a chunk of 8192 in
    three layers of four.
    """
    oss = load_model("gpt-oss-20b")
    assert [layer.attention.window_tokens for layer in oss.layers[:4]] == [128, None, 128, None]
    assert oss.kv_bytes(1000) == 12 * (128 + 1000) * 2 * 8 * 64 * 2
    scout = load_model("llama-4-scout")
    assert [layer.attention.window_tokens for layer in scout.layers[:5]] == [
        8192,
        8192,
        8192,
        None,
        8192,
    ]
    assert all(layer.attention.window_tokens is None for layer in load_model("mixtral-8x7b").layers)
    assert all(
        layer.attention.window_tokens is None for layer in load_model("qwen1.5-moe-a2.7b").layers
    ), "use_sliding_window is false"


def test_leading_dense_layers() -> None:
    """DeepSeek-V3 routes from layer 3 on, V2-Lite, GLM and Kimi-K2 from layer 1 on."""
    assert load_model("deepseek-v3").moe_layers == tuple(range(3, 61))
    for name, num_layers in (("deepseek-v2-lite", 27), ("glm-4.5-air", 46), ("kimi-k2", 61)):
        assert load_model(name).moe_layers == tuple(range(1, num_layers))


def test_native_formats() -> None:
    """gpt-oss holds its experts in 17 bytes per 32 weights, DeepSeek-V3 its experts in one byte
    each; another scheme can be chosen.
    """
    oss = load_model("gpt-oss-120b")
    assert oss.quantization == "mxfp4"
    assert oss.expert_bytes == oss.expert_params * 17 // 32
    assert (
        oss.layers[0].bytes[TensorClass.ATTENTION]
        == 2 * oss.layers[0].params[TensorClass.ATTENTION]
    )
    assert load_model("deepseek-v3").expert_bytes == 3 * 7168 * 2048
    assert load_model("deepseek-v3", "4bit").expert_bytes == 3 * 7168 * 2048 * 144 // 256
    assert load_model("gpt-oss-120b", "16bit").total_bytes == 2 * oss.total_params


@given(st.sampled_from(REQUIRED), st.sampled_from(sorted(SCHEMES)))
@settings(max_examples=15)
def test_requantising_equals_loading_in_the_scheme(name: str, quantization: str) -> None:
    """A loaded model put into a scheme of one format a class is the model loaded in it."""
    assert requantized(load_model(name), quantization) == load_model(name, quantization)


def test_ggml_formats_are_those_of_the_gguf_package() -> None:
    """Block sizes of the GGML formats are those that the gguf package states."""
    gguf = pytest.importorskip("gguf")
    sizes = {kind.name.lower(): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    compared = {name for name in FORMATS if name in sizes}
    assert {"q4_k", "q8_0", "mxfp4", "iq4_xs"} <= compared
    assert {
        name: (FORMATS[name].block_weights, FORMATS[name].block_bytes) for name in compared
    } == {name: sizes[name] for name in compared}


@pytest.mark.parametrize("name", REQUIRED)
def test_saving_and_loading_changes_nothing(name: str, tmp_path: Path) -> None:
    """load(save(m)) == m for each shipped model with explicit layers, and for its own file."""
    model = load_model(name)
    check_file(model, tmp_path)
    save_model(load_spec(name), tmp_path / "spec.yaml")
    assert load_model(str(tmp_path / "spec.yaml")) == model
    assert load_spec(str(tmp_path / "spec.yaml")) == load_spec(name)


_counts = st.integers(min_value=0, max_value=10**13)
_positive = st.integers(min_value=1, max_value=10**7)
_classes = st.lists(st.sampled_from(TensorClass), min_size=1, unique=True)


_indexers = st.builds(Indexer, top_k=_positive, key_elements=_counts, score_elements=_counts)
_any_attention = st.builds(
    Attention,
    num_heads=_positive,
    kv_elements_per_token=_counts,
    score_elements=_counts,
    value_elements=_counts,
    window_tokens=st.none() | _positive,
    tokens_per_entry=st.none() | _positive,
    indexer=st.none() | _indexers,
    keeps_kv=st.booleans(),
)
# Attention to nothing is no attention: a file cannot tell the two apart.
_attentions = _any_attention.filter(
    lambda found: found.kv_elements_per_token or found.score_elements or found.value_elements
)
_states = st.builds(State, elements=_counts, bytes=_counts)


@st.composite
def _layers(draw: st.DrawFn) -> Layer:
    classes = draw(_classes)
    num_experts = draw(st.integers(min_value=0, max_value=512))
    return Layer(
        attention=draw(st.none() | _attentions),
        state=draw(st.none() | _states),
        num_experts=num_experts,
        top_k=draw(st.integers(min_value=1, max_value=num_experts)) if num_experts else 0,
        params={tensor_class: draw(_counts) for tensor_class in classes},
        bytes={tensor_class: draw(_counts) for tensor_class in classes},
    )


@st.composite
def _models(draw: st.DrawFn) -> Model:
    text = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
    kinds = draw(st.lists(_layers(), min_size=1, max_size=3))
    return Model(
        name=draw(text),
        family=draw(text),
        hidden=draw(_positive),
        vocab=draw(_positive),
        expert_intermediate=draw(_positive),
        layers=tuple(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=8))),
        top_params={TensorClass.EMBEDDING: draw(_counts)},
        top_bytes={TensorClass.EMBEDDING: draw(_counts)},
        dtypes={
            tensor_class: draw(st.sampled_from(sorted(FORMATS))) for tensor_class in TensorClass
        },
        quantization=draw(text),
        max_context_tokens=draw(_positive),
        provenance=Provenance(kind=draw(st.sampled_from(Kind)), source=draw(text), date="2026-01"),
        is_head_tied=draw(st.booleans()),
        activation_bytes=draw(st.integers(min_value=1, max_value=8)),
        kv_element_bytes=draw(st.floats(min_value=0.25, max_value=8)),
    )


@given(model=_models())
def test_any_model_survives_its_file(
    model: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """load(save(m)) == m whatever the model holds."""
    path = tmp_path_factory.mktemp("models") / "model.yaml"
    save_model(model, path)
    assert load_model(str(path)) == model


def test_equal_layers_are_written_once() -> None:
    """A model of two kinds of layers has two entries, which cover all indices."""
    spec = explicit_spec(load_model("gpt-oss-20b"))
    assert spec.tensors is not None
    assert [layer.at for layer in spec.tensors.layers] == [
        tuple(range(0, 24, 2)),
        tuple(range(1, 24, 2)),
    ]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the replacement fails the file there before is whole, and no temporary file stays."""
    path = tmp_path / "model.yaml"
    save_model(load_model("olmoe-1b-7b"), path)
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(InputError, match="No space left"):
        save_model(load_model("mixtral-8x7b"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    """The folder of the file must exist."""
    with pytest.raises(InputError, match="cannot write"):
        save_model(load_model("olmoe-1b-7b"), tmp_path / "missing" / "model.yaml")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mixtral-8x7", "did you mean 'mixtral-8x7b'"),
        ("nothing-like-it-zzz", "rosin models lists those that ship"),
        ("mixtral.yaml", "no model file mixtral.yaml"),
        ("missing.gguf", "no model file missing.gguf"),
    ],
)
def test_an_unknown_name_says_what_is_known(name: str, hint: str) -> None:
    """An unknown name or a missing file is one line with a hint."""
    with pytest.raises(InputError, match=hint) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    """A misspelt quantisation scheme is an input error."""
    with pytest.raises(InputError, match="did you mean '4bit'"):
        load_model("mixtral-8x7b", "4-bit")


def _written(tmp_path: Path, data: object) -> str:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(path)


def _mixtral() -> dict[str, object]:
    return load_spec("mixtral-8x7b").model_dump(mode="json", exclude_defaults=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "unknown key nmae; did you mean 'name'"),
        ({"format": "rosin-model/2"}, "format"),
        ({"tensors": {}}, "tensors"),
        ({"config": None}, "exactly one of the keys config and tensors"),
        (
            {"published": [{"total_params": -1, "source": "x", "date": "2024"}]},
            "published.0.total_params",
        ),
        ({"date": "yesterday"}, "date: string should match pattern"),
        (
            {"published": [{"total_params": True, "source": "x", "date": "2024"}]},
            "published.0.total_params",
        ),
        ({"quantization": "5bit"}, r"model\.yaml: quantization: no scheme named '5bit'"),
        ({"config": {"model_type": "mixtral"}}, r"model\.yaml: key .* is missing"),
    ],
)
def test_wrong_keys_are_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    """A wrong key or value of a model file is named in one line with the file."""
    with pytest.raises(InputError, match=message) as caught:
        load_model(_written(tmp_path, {**_mixtral(), **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 9}, "top_k ≤ num_experts must hold, got 9 > 8"),
        ({"top_k": 0}, "selects at least one"),
        ({"num_experts": -8}, "num_experts: must be at least 0"),
        ({"at": [*range(32), 0]}, "indices under layers.*.at must be 0 to 32, each once"),
        ({"at": list(range(1, 32))}, "indices under layers.*.at must be 0 to 30, each once"),
        ({"params": {"experts": 5}}, "params"),
        ({"attention": WITHOUT_HEADS}, "num_heads: must be at least 1, got 0"),
        ({"params": {"expert": 5}}, "params and bytes must name the same tensor classes"),
    ],
)
def test_wrong_explicit_layers_are_named(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    """Contradictions within explicit layers are found; a correct file of the same kind loads."""
    data = explicit_spec(load_model("mixtral-8x7b")).model_dump(mode="json", exclude_defaults=True)
    assert load_model(_written(tmp_path, data)) == load_model("mixtral-8x7b")
    data["tensors"]["layers"][0].update(change)
    with pytest.raises(InputError, match=message):
        load_model(_written(tmp_path, data))


def test_a_configuration_and_its_folder_load(tmp_path: Path) -> None:
    """A config.json, and the folder it is in, load as the shipped model of that configuration does."""
    folder = tmp_path / "Mixtral-8x7B"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(load_spec("mixtral-8x7b").config), encoding="utf-8"
    )
    from_folder, from_file = load_model(str(folder)), load_model(str(folder / "config.json"))
    assert from_folder == from_file
    shipped = load_model("mixtral-8x7b")
    assert (
        dataclasses.replace(from_folder, name=shipped.name, provenance=shipped.provenance)
        == shipped
    )
    assert from_folder.name == "Mixtral-8x7B"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "broken JSON"), ("[1]", "a JSON object"), ("{}", "key model_type is missing")],
)
def test_a_broken_configuration_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    """A config.json that is not one says so with its path."""
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_model(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_configuration_is_an_input_error(tmp_path: Path) -> None:
    """An empty folder is not a model."""
    with pytest.raises(InputError, match="cannot read model configuration"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("kv_type", "bytes_per_element"), [("q8_0", 34 / 32), ("q4_0", 18 / 32), ("f32", 4), ("F16", 2)]
)
def test_keys_and_values_are_stored_in_the_named_type(
    kv_type: str, bytes_per_element: float
) -> None:
    """The cache takes the type's bytes; nothing else of the model changes."""
    model = load_model("qwen3-30b-a3b")
    other = with_kv_type(model, kv_type)
    assert other.kv_bytes_per_token == round(48 * 2 * 4 * 128 * bytes_per_element)
    assert dataclasses.replace(other, kv_element_bytes=model.kv_element_bytes) == model


def test_an_unknown_type_of_keys_and_values_is_refused() -> None:
    """The error has the nearest name."""
    with pytest.raises(InputError, match="q8_0"):
        with_kv_type(load_model("mixtral-8x7b"), "q8")
