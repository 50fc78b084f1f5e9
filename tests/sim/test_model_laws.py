"""Laws of model sizes that hold for any shipped model in any scheme."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.model.importers.schemes import find_scheme
from sim.model.importers.schemes.assumed import ASSUMED
from sim.model.importers.schemes.checkpoints import CHECKPOINTS
from sim.model.importers.schemes.llama_cpp import MIXES
from sim.model.library import load_model, model_names, requantized, with_kv_type
from sim.model.model import Model, TensorClass
from sim.model.quantization import FORMATS, KV_TYPES, SCHEMES

SCHEME_NAMES = sorted({*SCHEMES, *MIXES, *ASSUMED, *CHECKPOINTS, "EXL3-4.05bpw", "EXL2-6bpw"})
models = st.sampled_from(model_names())
schemes = st.sampled_from(SCHEME_NAMES)


@cache
def _loaded(name: str, scheme: str | None = None) -> Model:
    return load_model(name, scheme)


def _sum_of_layers(model: Model) -> tuple[int, int]:
    """Weights and bytes, added up class by class."""
    params = sum(model.top_params.values())
    num_bytes = sum(model.top_bytes.values())
    for layer in model.layers:
        for tensor_class, count in layer.params.items():
            times = layer.num_experts if tensor_class is TensorClass.EXPERT else 1
            params += times * count
            num_bytes += times * layer.bytes[tensor_class]
    return params, num_bytes


@given(models, schemes)
@settings(max_examples=40)
def test_totals_are_sums_over_classes(name: str, scheme: str) -> None:
    """Weights and bytes of a model are those of its classes, each expert counted; a scheme changes
    no count of weights, and every format that it names is known.
    """
    model = _loaded(name, scheme)
    assert (model.total_params, model.total_bytes) == _sum_of_layers(model)
    assert model.total_params == _loaded(name).total_params
    assert model.active_params <= model.total_params
    assert set(model.dtypes.values()) <= set(FORMATS)


@given(models, schemes)
@settings(max_examples=40)
def test_bytes_lie_between_a_bit_and_four_bytes_a_weight(name: str, scheme: str) -> None:
    """Of the whole and of each class; routers and norms included."""
    model = _loaded(name, scheme)
    held = [*model.layers, model]
    for owner in held:
        params = owner.top_params if isinstance(owner, Model) else owner.params
        sizes = owner.top_bytes if isinstance(owner, Model) else owner.bytes
        for tensor_class, count in params.items():
            assert count / 8 <= sizes[tensor_class] <= 4 * count


def _expert_bytes(model: Model) -> int:
    return sum(layer.num_experts * layer.expert_bytes for layer in model.layers)


LADDERS = (
    ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_S", "IQ4_XS"),
    ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"),
    ("Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K", "Q8_0", "BF16", "F32"),
    ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "F32"),
    ("UD-IQ1_S", "UD-IQ1_M", "UD-IQ2_XXS", "UD-Q2_K_XL", "UD-Q3_K_XL", "UD-Q4_K_XL", "UD-Q5_K_XL"),
    ("4bit", "8bit", "16bit"),
    ("GPTQ-4bit", "GPTQ-8bit", "BF16"),
    ("INT4", "INT8", "BF16"),
)
"""Schemes from few bits a weight to many, by their makers' names. Q2_K_S is none of them: it widens
the first eighth of the down projections more than Q2_K does.
"""


@given(models, st.sampled_from(LADDERS), st.data())
@settings(max_examples=40)
def test_more_bits_are_never_smaller(
    name: str, ladder: tuple[str, ...], data: st.DataObject
) -> None:
    """A wider scheme of the same kind takes no fewer bytes, in whole and for the experts alone."""
    low = data.draw(st.integers(0, len(ladder) - 2))
    high = data.draw(st.integers(low + 1, len(ladder) - 1))
    small, large = _loaded(name, ladder[low]), _loaded(name, ladder[high])
    assert small.total_bytes <= large.total_bytes
    # Which layers get wider types differs by scheme, so this need not hold for each layer.
    assert _expert_bytes(small) <= _expert_bytes(large)


@given(models, st.integers(100, 790), st.integers(1, 200), st.sampled_from(("EXL3", "EXL2")))
@settings(max_examples=40)
def test_stated_bits_are_the_bits_of_experts(
    name: str, hundredths: int, more: int, kind: str
) -> None:
    """A file of ExLlama has as many bits a weight of its experts as its name says, and grows with
    them.
    """
    few, many = (
        _loaded(name, f"{kind}-{each / 100}bpw")
        for each in (hundredths, min(hundredths + more, 800))
    )
    assert few.total_bytes <= many.total_bytes
    layer = next((each for each in few.layers if each.is_moe), None)
    if layer is not None:
        bits = 8 * layer.expert_bytes / layer.params[TensorClass.EXPERT]
        assert bits == pytest.approx(hundredths / 100, rel=0.05)


@given(models, schemes)
@settings(max_examples=40)
def test_a_scheme_goes_by_its_own_name(name: str, scheme: str) -> None:
    """Whatever its capitals; and put into it again, a model changes no count and keeps its name."""
    model = _loaded(name, scheme)
    found = find_scheme(scheme)
    assert found is not None
    assert model.quantization == found.name == scheme
    assert _loaded(name, scheme.swapcase()) == model
    again = requantized(model, scheme)
    assert (again.quantization, again.total_params) == (scheme, model.total_params)


@given(models, st.integers(0, 300_000), st.integers(0, 300_000))
@settings(max_examples=40)
def test_keys_and_values_grow_with_tokens(name: str, tokens: int, more: int) -> None:
    """Never by more than every layer's own bytes a token, as windows keep no more; states alone are
    there from the first.
    """
    model = _loaded(name)
    short, long = model.kv_bytes(tokens), model.kv_bytes(tokens + more)
    assert short <= long
    # A compressed entry stands for several tokens, so whole entries round up.
    assert long - short <= (more + 256) * model.kv_bytes_per_token


@given(models, st.integers(1, 300_000), st.lists(st.sampled_from(sorted(KV_TYPES)), min_size=2))
@settings(max_examples=40)
def test_a_type_of_keys_and_values_scales_them(name: str, tokens: int, types: list[str]) -> None:
    """In proportion to the type's bytes, states aside, and nothing else of the model changes."""
    model = _loaded(name)
    sizes = [with_kv_type(model, each).kv_bytes(tokens) for each in types]
    widths = [FORMATS[each].bytes_per_weight for each in types]
    states = sum(layer.state_bytes for layer in model.layers)
    for size, width in zip(sizes, widths, strict=True):
        expected = (sizes[0] - states) * width / widths[0]
        assert size - states == pytest.approx(expected, abs=len(model.layers) + 1)
    assert with_kv_type(model, types[0]).total_bytes == model.total_bytes
