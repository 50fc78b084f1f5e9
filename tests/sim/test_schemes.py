"""Schemes by public name: sizes of published files, types by tensor, and what is approximated."""

import csv
import json
from pathlib import Path

import pytest

from hwprofiles import InputError, Kind
from sim.model.importers.schemes import find_scheme
from sim.model.importers.schemes.assumed import ASSUMED
from sim.model.importers.schemes.checkpoints import CHECKPOINTS
from sim.model.importers.schemes.llama_cpp import CONDITIONS, MIXES
from sim.model.importers.schemes.scheme import MixRule
from sim.model.library import load_model, model_names, save_model
from sim.model.model import Model, TensorClass
from sim.model.quantization import FORMATS, SCHEMES
from sim.model.storage_types import STORAGE_TYPES
from tests.sim.family_configs import CONFIGS
from tests.source_tree import ROOT

MEASURED = ROOT.parent / "shared" / "data" / "runtimes"
GB = 10**9
STORAGE_TYPES_BY_NAME = {kind.name: kind for kind in STORAGE_TYPES.values()}

# Sizes of published files, 10^9 bytes, as their model cards state them:
# huggingface.co/bartowski/Qwen_Qwen3-30B-A3B-GGUF (llama.cpp b5200; Q4_K_M:
# unsloth/Qwen3-30B-A3B-GGUF)
QWEN3_30B = {
    "Q4_K_M": 18.56,
    "BF16": 61.10,
    "Q8_0": 32.48,
    "Q6_K_L": 25.26,
    "Q6_K": 25.10,
    "Q5_K_M": 21.74,
    "Q5_K_S": 21.10,
}
# huggingface.co/bartowski/Mixtral-8x22B-v0.1-GGUF (b2636)
MIXTRAL_8X22B = {
    "Q5_K_M": 99.96,
    "Q5_K_S": 96.97,
    "Q4_K_M": 85.58,
    "Q4_K_S": 80.47,
    "IQ4_NL": 80.47,
    "IQ4_XS": 76.35,
    "Q3_K_L": 72.57,
    "Q3_K_M": 67.78,
    "IQ3_M": 64.49,
    "IQ3_S": 61.49,
    "Q3_K_S": 61.49,
    "IQ3_XS": 58.22,
    "Q2_K": 52.10,
}
# huggingface.co/bartowski/deepseek-ai_DeepSeek-V3-0324-GGUF (b4944)
DEEPSEEK_V3 = {
    "Q8_0": 713.29,
    "Q6_K": 550.80,
    "Q5_K_M": 475.40,
    "Q5_K_S": 461.81,
    "Q4_1": 419.94,
    "Q4_K_M": 404.43,
}
# bartowski's model card of a Llama 3.1 70B, quoted at
# ozeki.chat/p_8590-understanding-ai-model-files.html
LLAMA_70B = {
    "Q8_0": 74.98,
    "Q6_K": 57.89,
    "Q5_K_L": 50.60,
    "Q5_K_M": 49.95,
    "Q5_K_S": 48.66,
    "Q4_K_L": 43.30,
    "Q4_K_M": 42.52,
    "Q4_K_S": 40.35,
    "Q4_0": 40.12,
    "Q3_K_XL": 38.06,
    "IQ4_XS": 37.90,
    "Q3_K_L": 37.14,
    "Q3_K_M": 34.27,
    "IQ3_M": 31.94,
    "Q3_K_S": 30.91,
}
# Bits a weight of Llama 3.1 8B: ggml-org/llama.cpp, tools/quantize/README.md, commit 311c2c9f
LLAMA_8B_BITS = {
    "IQ1_S": 2.0042,
    "IQ1_M": 2.1460,
    "IQ2_XXS": 2.3824,
    "IQ2_XS": 2.5882,
    "IQ2_S": 2.7403,
    "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548,
    "IQ3_XS": 3.4977,
    "IQ3_S": 3.6606,
    "IQ3_M": 3.7628,
    "IQ4_XS": 4.4597,
    "IQ4_NL": 4.6818,
    "Q2_K_S": 2.9697,
    "Q2_K": 3.1593,
    "Q3_K_S": 3.6429,
    "Q3_K_L": 4.2979,
    "Q4_K_S": 4.6672,
    "Q4_K_M": 4.8944,
    "Q5_K_S": 5.5704,
    "Q5_K_M": 5.7036,
    "Q6_K": 6.5633,
    "Q8_0": 8.5008,
    "F16": 16.0005,
}
# huggingface.co/bartowski/openai_gpt-oss-20b-GGUF (b6096)
GPT_OSS_20B = {"MXFP4_MOE": 12.1}
# 272.527 GiB: ik_llama.cpp pull 529
DEEPSEEK_V3_IK = {"IQ3_KT": 292.62}
# huggingface.co/unsloth/DeepSeek-V3-0324-GGUF (UD-Q5_K_XL: unsloth/DeepSeek-V3.1-GGUF)
DEEPSEEK_V3_UNSLOTH = {
    "UD-IQ1_S": 186,
    "UD-IQ1_M": 196,
    "UD-IQ2_XXS": 219,
    "UD-Q2_K_XL": 248,
    "UD-Q3_K_XL": 321,
    "UD-Q4_K_XL": 405,
    "UD-Q5_K_XL": 485,
}
# 10^9 bytes of files whose types Unsloth chose, by 2026's mixes. Qwen3.5: ggml-org/Llama-macOS pull
# 63; Qwen3.6: llama.cpp issue 25859 and jeanfbrito.github.io/posts/running-qwen3.6-35b-moe-rtx3060-ncmoe
UNSLOTH = {
    ("qwen3.5-35b-a3b", "UD-Q4_K_XL"): 22.2,
    ("qwen3.5-397b-a17b", "UD-Q4_K_XL"): 219.2,
    ("qwen3.6-35b-a3b", "UD-Q4_K_M"): 22.1,
    ("qwen3.6-35b-a3b", "UD-IQ3_XXS"): 13.2,
}
# The same of Qwen3.8-Flash-Next, less the table of n-grams of 28.8, which the model file leaves out:
# Niko1221/Strata, release 0.2.11 (UD-Q4_K_XL: docs/QUANTS.md at v0.1.44.1)
FLASH_NEXT = {
    "UD-IQ1_M": 39.2,
    "UD-Q2_0": 41.8,
    "UD-IQ2_XS": 47.0,
    "UD-Q2_K_XL": 50.8,
    "UD-IQ3_XXS": 54.8,
    "UD-Q3_K_XL": 60.7,
    "UD-IQ4_XS": 64.9,
    "UD-Q4_K_XL": 82.5,
}
# GiB of its routed experts, from the files' headers: docs/QUANTS.md
FLASH_NEXT_EXPERTS = {
    "UD-IQ4_XS": 55.4,
    "UD-Q4_K_XL": 71.7,
    "UD-Q5_K_XL": 91.6,
    "UD-Q6_K_XL": 101.7,
    "Q8_0": 119.5,
}
# llama.cpp pull request 14425: 45.38 GiB
HUNYUAN_A13B = {"Q4_K_M": 48.73}
# llama-bench in public repositories: 3.49 and 3.94 GiB
GRANITE_4_TINY = {"IQ4_XS": 3.747, "Q4_K_M": 4.231}
PUBLISHED = [
    (model, scheme, size)
    for model, sizes in (
        ("qwen3-30b-a3b", QWEN3_30B),
        ("mixtral-8x22b", MIXTRAL_8X22B),
        ("deepseek-v3", DEEPSEEK_V3),
        ("deepseek-v3", DEEPSEEK_V3_IK),
        ("deepseek-v3", DEEPSEEK_V3_UNSLOTH),
        ("llama-3-70b", LLAMA_70B),
        ("gpt-oss-20b", GPT_OSS_20B),
        ("hunyuan-a13b", HUNYUAN_A13B),
        ("granite-4.0-h-tiny", GRANITE_4_TINY),
    )
    for scheme, size in sizes.items()
]

OTHER_FILES = {
    (
        "mixtral-8x7b",
        "Q4_K_M",
    ): "of December 2023, as large as this rule's Q4_0: the quantiser of that time probably gave experts no q6_k",
    ("deepseek-v3", "UD-Q2_K_XL"): "DeepSeek-R1's file of January 2025, 212 GB, not 248",
    ("deepseek-v2-lite", "Q6_K_L"): "stated as a mean of the file",
    ("deepseek-v2-lite", "Q4_K_M"): "stated as a mean of the file",
    (
        "deepseek-v2-lite",
        "IQ4_KS",
    ): "stated by its type alone; rows of 1408 do not divide into its blocks",
}
"""Rows whose stated experts are of another file than the name's rule makes."""


@pytest.mark.parametrize(("model", "scheme", "size"), PUBLISHED)
def test_sizes_of_published_files(model: str, scheme: str, size: float) -> None:
    """Weights come within 2 % of the file, whose header and vocabulary they lack."""
    assert load_model(model, scheme).total_bytes / GB == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize(
    ("model", "scheme", "size"), [(*key, size) for key, size in UNSLOTH.items()]
)
def test_sizes_of_files_whose_types_their_author_chose(
    model: str, scheme: str, size: float
) -> None:
    """No rule makes them; the largest of Qwen3.5 is 10 % off, the others within 4 %."""
    tolerance = 0.11 if model == "qwen3.5-397b-a17b" else 0.04
    assert load_model(model, scheme).total_bytes / GB == pytest.approx(size, rel=tolerance)


@pytest.mark.parametrize(("scheme", "size"), FLASH_NEXT.items())
def test_sizes_of_one_author_s_files_of_one_model(scheme: str, size: float) -> None:
    """From 1 to 4 bits within 8 %, but for the smallest."""
    tolerance = 0.18 if scheme == "UD-IQ1_M" else 0.08
    found = load_model("qwen3.8-flash-next", scheme).total_bytes / GB
    assert found == pytest.approx(size, rel=tolerance)


@pytest.mark.parametrize(("scheme", "size"), FLASH_NEXT_EXPERTS.items())
def test_experts_of_files_whose_headers_were_read(scheme: str, size: float) -> None:
    """Within 4 %: a few layers of each file have wider types."""
    layers = load_model("qwen3.8-flash-next", scheme).layers
    found = sum(each.num_experts * each.bytes[TensorClass.EXPERT] for each in layers)
    assert found / 2**30 == pytest.approx(size, rel=0.04)


K_QUANTS = [
    each for each in PUBLISHED if each[1] in ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
]


@pytest.mark.parametrize(("model", "scheme", "size"), K_QUANTS)
def test_k_quants_are_exact_but_for_the_header(model: str, scheme: str, size: float) -> None:
    """Where a file's rule is wholly known, a tenth of a per cent is left."""
    assert load_model(model, scheme).total_bytes / GB == pytest.approx(size, rel=0.001)


@pytest.mark.parametrize(("scheme", "bits"), LLAMA_8B_BITS.items())
def test_bits_a_weight_that_the_quantiser_states(scheme: str, bits: float) -> None:
    """llama.cpp's own table; its two files of 4-bit i-quants were made without an importance
    matrix.
    """
    model = load_model("llama-3.1-8b", scheme)
    tolerance = 0.009 if scheme in ("IQ4_XS", "IQ4_NL") else 0.0002
    assert 8 * model.total_bytes / model.total_params == pytest.approx(bits, rel=tolerance)


def _rows() -> list[tuple[str, str, float]]:
    stated = set()
    for name in ("rows.csv", "memory.csv"):
        path = MEASURED / name
        if not path.exists():
            return []
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            parts = dict(part.split("=") for part in row["bytes_per_weight"].split(";") if part)
            if "experts" in parts and row["model"] in model_names():
                stated.add((row["model"], row["quantization"], float(parts["experts"])))
    return sorted(stated)


def _expert_bytes_per_weight(model: Model) -> float:
    routed = [layer for layer in model.layers if layer.is_moe]
    num_bytes = sum(layer.num_experts * layer.bytes[TensorClass.EXPERT] for layer in routed)
    return num_bytes / sum(layer.num_experts * layer.params[TensorClass.EXPERT] for layer in routed)


def test_measured_files_state_the_bytes_of_experts() -> None:
    """Bytes of an expert's weight that measured rows state come out within 2 %; other files are
    named.
    """
    rows = _rows()
    if not rows:
        pytest.skip("the measured rows are not here")
    off = {}
    for model, scheme, stated in rows:
        found = _expert_bytes_per_weight(load_model(model, scheme))
        if abs(found / stated - 1) > 0.02:
            off[model, scheme] = found / stated - 1
    assert set(off) == set(OTHER_FILES)
    assert max(map(abs, off.values())) < 0.1


def test_every_name_of_the_measured_rows_is_a_scheme() -> None:
    """Names of other models' rows are known too."""
    if not MEASURED.exists():
        pytest.skip("the measured rows are not here")
    for name in ("rows.csv", "memory.csv"):
        for row in csv.DictReader((MEASURED / name).read_text(encoding="utf-8").splitlines()):
            assert find_scheme(row["quantization"]) is not None, row["quantization"]


NAMES = [*SCHEMES, *MIXES, *ASSUMED, *CHECKPOINTS, "EXL3-4.05bpw", "EXL2-6bpw"]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Q4_K", "Q4_K_M"),
        ("Q5_K - Medium", "Q5_K_M"),
        ("Q3_K - Large", "Q3_K_L"),
        ("Q4_K_Small", "Q4_K_S"),
        ("IQ3_XXS - 3.0625 bpw", "IQ3_XXS"),
        ("IQ3_S mix - 3.66 bpw", "IQ3_M"),
        ("Q2_K - Medium", "Q2_K"),
        ("Q2_K - Small", "Q2_K_S"),
        ("MXFP4 MoE", "MXFP4_MOE"),
        ("FP16", "F16"),
        ("q4_k_xl", "UD-Q4_K_XL"),
        ("W4A16", "GPTQ-4bit"),
        ("FP8-Dynamic", "fp8"),
        ("GPTQ-Int4", "GPTQ-4bit"),
        ("iq1_s_r4", "IQ1_S_R4"),
        ("TQ1_0", "TQ1_0"),
        ("smol-iq2_ks", "smol-IQ2_KS"),
        ("ud-q4_k_m", "UD-Q4_K_M"),
        ("ud-q4_k_s", "UD-Q4_K_S"),
        ("UD-F16", None),
        ("UD-nothing", None),
        ("smol-nothing", None),
        ("q8_1", None),
        ("f64", None),
    ],
)
def test_spellings_of_programs_and_files(spelling: str, name: str | None) -> None:
    """What llama.cpp prints and files are named after is found, and stored under the usual name."""
    found = find_scheme(spelling)
    assert (found and found.name) == name
    if name is not None:
        assert load_model("granite-3-1b-a400m", spelling).quantization == name


def test_a_prefix_moves_only_what_it_says() -> None:
    """UD- before a mix keeps its experts and widens the rest; smol- narrows down projections."""
    plain = load_model("qwen3-30b-a3b", "Q4_K_M")
    dynamic = load_model("qwen3-30b-a3b", "UD-Q4_K_M")
    assert [each.expert_bytes for each in plain.layers] == [
        each.expert_bytes for each in dynamic.layers
    ]
    assert dynamic.dtypes[TensorClass.ATTENTION] == "q8_0"
    small = load_model("qwen3-30b-a3b", "smol-IQ2_KS").layers[0]
    usual = load_model("qwen3-30b-a3b", "IQ2_KS").layers[0]
    assert small.expert_bytes < usual.expert_bytes
    assert small.bytes[TensorClass.ATTENTION] == usual.bytes[TensorClass.ATTENTION]


def test_names_differ_but_for_capitals() -> None:
    """No two schemes are told apart by capitals alone."""
    assert len({name.lower() for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Q4_KM", "Q4_K_M"),
        ("q4km", "Q4_K_M"),
        ("IQ2XXS", "IQ2_XXS"),
        ("UD-Q4_XL", "UD-Q4_K_XL"),
        ("UD-IQ3_XSS", "UD-IQ3_XXS"),
    ],
)
def test_a_misspelt_scheme_names_the_nearest(name: str, nearest: str) -> None:
    """One line with the nearest name, for a model by name and for a written one."""
    with pytest.raises(
        InputError, match=f"no quantisation scheme named '{name}'; did you mean '{nearest}'"
    ):
        load_model("qwen3-30b-a3b", name)


@pytest.mark.parametrize("name", ["EXL3-0bpw", "EXL3-9bpw", "EXL3-bpw", "EXL4-4bpw", ""])
def test_bits_that_no_tool_writes_are_refused(name: str) -> None:
    """ExLlama's names state 1 to 8 bits."""
    assert find_scheme(name) is None


def test_types_differ_by_layer_and_tensor() -> None:
    """Q4_K_M of 48 layers: q6_k for values and down projections of the first 6, the last 6 and
    every third between.
    """
    model = load_model("qwen3-30b-a3b", "Q4_K_M")
    plain = 2048 * 768 * 3 * 144 // 256
    more = 2048 * 768 * (2 * 144 + 210) // 256
    is_more = [layer.expert_bytes == more for layer in model.layers]
    assert {layer.expert_bytes for layer in model.layers} == {plain, more}
    assert [index for index, each in enumerate(is_more) if each] == [
        *range(6),
        *range(8, 42, 3),
        *range(42, 48),
    ]
    values = 2048 * 512 * (210 - 144) // 256
    attention = [layer.bytes[TensorClass.ATTENTION] for layer in model.layers]
    assert attention[0] - attention[6] == values
    assert model.dtypes[TensorClass.HEAD] == "q6_k"
    assert model.dtypes[TensorClass.NORM] == model.dtypes[TensorClass.ROUTER] == "f32"


def test_rows_that_do_not_divide_fall_back() -> None:
    """Down projections of 1408 columns go to q5_0 and q8_0, gates and ups stay q4_k; a head of 2880
    becomes q8_0.
    """
    layers = load_model("deepseek-v2-lite", "Q4_K_M").layers[1:]
    products = 2048 * 1408
    gate_and_up = 2 * products * 144 // 256
    assert {layer.expert_bytes for layer in layers} == {
        gate_and_up + products * 22 // 32,
        gate_and_up + products * 34 // 32,
    }
    assert load_model("gpt-oss-20b", "IQ2_XXS").dtypes[TensorClass.HEAD] == "q8_0"


def test_eight_experts_keep_keys_and_values_in_eight_bits() -> None:
    """Mixtral's keys and values are q8_0 under every mix of three bits and more, whatever its
    default.
    """
    for name in ("Q3_K_S", "Q4_0", "Q5_K_S", "Q6_K"):
        layer = load_model("mixtral-8x7b", name).layers[0]
        default = STORAGE_TYPES_BY_NAME[MIXES[name].default]
        output = STORAGE_TYPES_BY_NAME["q5_k"] if name == "Q3_K_S" else default
        square = (4096, 4096)
        expected = default.size(square) + output.size(square) + 2 * 4096 * 1024 * 34 // 32
        assert layer.bytes[TensorClass.ATTENTION] == expected


@pytest.mark.parametrize(
    "scheme", ["Q4_K_M", "IQ2_M", "MXFP4_MOE", "UD-Q2_K_XL", "IQ2_KT", "AWQ", "FP4"]
)
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_every_family_can_be_stored_in_a_scheme(family: str, scheme: str, tmp_path: Path) -> None:
    """Weights stay, and bytes lie between what the smallest and the largest type of the scheme
    would give.
    """
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS[family]), encoding="utf-8")
    model = load_model(str(path), scheme)
    wide = load_model(str(path), "F32")
    assert model.total_params == wide.total_params == load_model(str(path), "16bit").total_params
    assert wide.total_bytes == 4 * wide.total_params
    assert 0.25 < model.total_bytes / model.total_params < 1.7


def test_a_tied_embedding_is_stored_as_a_head() -> None:
    """Granite's embedding is its head too: q6_k in Q4_K_M."""
    model = load_model("granite-3-1b-a400m", "Q4_K_M")
    assert model.is_head_tied
    assert model.dtypes[TensorClass.EMBEDDING] == "q6_k"


def test_what_is_approximated_says_so() -> None:
    """A mix of llama.cpp keeps the model's provenance; another's is assumed, and says how."""
    plain = load_model("qwen3-30b-a3b")
    assert load_model("qwen3-30b-a3b", "Q4_K_M").provenance == plain.provenance
    for name in ("UD-Q4_K_XL", "AWQ", "mix-IQ3_K", "Q6_K_L", "EXL3-4.05bpw"):
        provenance = load_model("qwen3-30b-a3b", name).provenance
        assert provenance.kind is Kind.ASSUMED
        assert provenance.source.startswith(plain.provenance.source)
        assert f"bytes of {name}: " in provenance.source


@pytest.mark.parametrize("name", ["Q4_K_M", "ud-q2_k_xl", "GPTQ-4bit", "IQ1_M"])
def test_a_model_without_tensors_is_stored_by_class(name: str, tmp_path: Path) -> None:
    """Each class in the type of most of its tensors, and the model says so; near what the tensors
    give.
    """
    path = tmp_path / "explicit.yaml"
    save_model(load_model("qwen3-30b-a3b"), path)
    by_tensor = load_model("qwen3-30b-a3b", name)
    model = load_model(str(path), name)
    assert model.quantization == by_tensor.quantization
    assert model.provenance.kind is Kind.ASSUMED
    assert "the tensors of this model are not known" in model.provenance.source
    assert model.total_bytes == pytest.approx(by_tensor.total_bytes, rel=0.12)


def test_the_file_of_a_scheme_is_the_scheme(tmp_path: Path) -> None:
    """A model saved in Q4_K_M and loaded in q4_k_m is itself."""
    path = tmp_path / "saved.yaml"
    model = load_model("qwen3-30b-a3b", "Q4_K_M")
    save_model(model, path)
    assert load_model(str(path), "q4_k_m") == model == load_model(str(path))


def test_a_checkpoint_that_states_its_settings_keeps_them(tmp_path: Path) -> None:
    """A scheme replaces what a config.json states, unless it is what the config.json states."""
    config = {
        **CONFIGS["minimax_m2"],
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    assert load_model(str(path), "FP8") == load_model(str(path))
    assert load_model(str(path), "q8_0").quantization == "Q8_0"


def test_rules_name_conditions_and_types_that_exist() -> None:
    """Every rule of every mix can be carried out."""
    mixes = [*MIXES.values(), *(scheme.mix for scheme in ASSUMED.values() if scheme.mix)]
    rules: list[MixRule] = [rule for mix in mixes for rule in (*mix.rules, *mix.expert)]
    assert {rule.condition for rule in rules} == set(CONDITIONS)
    assert {rule.type_name for rule in rules} | {mix.default for mix in mixes} <= set(FORMATS)


def test_formats_and_storage_types_are_one_table() -> None:
    """A type of GGUF files that is a format too has the same blocks in both."""
    both = [kind for kind in STORAGE_TYPES.values() if kind.name in FORMATS]
    assert len(both) > 70
    for kind in both:
        found = FORMATS[kind.name]
        assert (found.block_weights, found.block_bytes) == (kind.block, kind.num_bytes)


@pytest.mark.parametrize("mix", ["F16", "BF16", "Q8_0", "Q4_K_M", "IQ2_XXS"])
def test_experts_that_come_in_mxfp4_stay_so(mix: str) -> None:
    """Files of gpt-oss-20b have 12 to 14 GB whatever their mix; a 16-bit checkpoint's follow it."""
    model = load_model("gpt-oss-20b", mix)
    assert model.dtypes[TensorClass.EXPERT] == "mxfp4"
    assert 11e9 < model.total_bytes < 14e9
    assert load_model("qwen3-30b-a3b", mix).dtypes[TensorClass.EXPERT] != "mxfp4"
