"""Schemes named after another: mixes with interleaved rows, and Unsloth's dynamic files."""

import pytest

from hwprofiles.units import GIB
from sim.model.importers.schemes import find_scheme
from sim.model.importers.schemes.llama_cpp import MIXES
from sim.model.library import load_model
from sim.model.model import TensorClass
from sim.model.quantization import FORMATS
from sim.runtimes.formats import format_family, is_interleaved

INTERLEAVED = {
    "Q4_K_R4": "Q4_K_S",
    "Q3_K_R4": "Q3_K_S",
    "Q4_K_M_R4": "Q4_K_M",
    "Q6_K_R4": "Q6_K",
    "IQ4_NL_R4": "IQ4_NL",
    "IQ3_XXS_R4": "IQ3_XXS",
    "IQ4_XS_R8": "IQ4_XS",
    "Q8_0_R8": "Q8_0",
    "Q4_0_R8": "Q4_0",
    "BF16_R16": "BF16",
}
"""Names of ik_llama.cpp's quantiser, and the mix that each holds with its rows interleaved."""


@pytest.mark.parametrize(("name", "base"), INTERLEAVED.items())
def test_interleaved_rows_take_the_bytes_of_their_mix(name: str, base: str) -> None:
    """Every class is as large as in the mix, and the name says that rows are interleaved."""
    plain = load_model("qwen3-30b-a3b", base)
    model = load_model("qwen3-30b-a3b", name.lower())
    assert model.quantization == name
    assert is_interleaved(name)
    assert format_family(name) == format_family(base)
    for tensor_class in TensorClass:
        own = FORMATS[model.dtype(tensor_class)].bytes_per_weight
        assert own == FORMATS[plain.dtype(tensor_class)].bytes_per_weight
    assert base in model.provenance.source


def test_every_mix_with_an_interleaved_type_has_a_name() -> None:
    """Of the quantiser's mixes, those whose own type no kernel reads interleaved have none."""
    without = {
        name
        for name in MIXES
        if not any(find_scheme(f"{name}_{width}") for width in ("R4", "R8", "R16"))
    }
    assert without == {"F32", "F16", "Q4_1", "Q5_1"}


@pytest.mark.parametrize(
    "name",
    [
        "IQ4_XS_R4",
        "Q4_K_R8",
        "Q4_1_R4",
        "_R4",
        "R4",
        "UD-",
        "UD-UD-Q4_K_M",
        "UD-Q9_K",
        "XUD-Q4_K_M",
    ],
)
def test_widths_and_mixes_that_no_file_has_are_refused(name: str) -> None:
    """Each type has one width of its own."""
    assert find_scheme(name) is None


@pytest.mark.parametrize(
    ("model", "scheme", "gib"),
    [
        ("deepseek-v3", "DQ4_K_R4", 413.144),
        ("qwen3.5-122b-a10b", "Q4_K_M", 69.10),
        ("gemma-4-26b-a4b", "Q4_K_M", 15.63),
        ("ernie-4.5-21b-a3b", "Q4_K_M", 12.51),
    ],
)
def test_sizes_that_programs_print(model: str, scheme: str, gib: float) -> None:
    """Files of newer models and of a recipe are as large as llama.cpp and ik_llama.cpp print."""
    assert load_model(model, scheme).total_bytes / GIB == pytest.approx(gib, rel=0.015)
