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


DENSE_FILES = {
    "IQ4_NL": 18_679_495_328,
    "Q2_K": 12_344_652_448,
    "Q3_K_M": 15_971_778_208,
    "Q4_1": 20_636_523_168,
    "Q4_K_M": 19_762_150_048,
    "Q5_K_S": 22_635_494_048,
    "Q6_K": 26_883_307_168,
    "Q8_0": 34_817_719_968,
    "UD-IQ1_M": 8_302_084_768,
    "UD-IQ1_S": 7_738_884_768,
    "UD-IQ2_M": 11_553_366_688,
    "UD-IQ2_XXS": 9_277_096_608,
    "UD-IQ3_XXS": 12_967_551_648,
    "UD-Q2_K_XL": 12_797_352_608,
    "UD-Q3_K_XL": 16_403_102_368,
    "UD-Q4_K_XL": 20_021_713_568,
    "UD-Q5_K_XL": 23_233_551_008,
    "UD-Q6_K_XL": 28_961_586_848,
    "UD-Q8_K_XL": 39_481_015_968,
}
"""Bytes of files of huggingface.co/unsloth/Qwen3-32B-GGUF at 931c8406."""


@pytest.mark.parametrize(("name", "size"), DENSE_FILES.items())
def test_files_of_a_dense_model_have_their_published_sizes(name: str, size: int) -> None:
    """A mix of llama.cpp to a thousandth; a dynamic file as near as its page says."""
    off = load_model("qwen3-32b", name).total_bytes / size - 1
    if name.startswith("UD-"):
        assert (-0.12 if name == "UD-Q8_K_XL" else -0.08) < off < 0
    else:
        assert abs(off) < 0.001


@pytest.mark.parametrize(
    ("model", "name", "size"),
    [
        # unsloth/gemma-3-27b-it-GGUF
        ("gemma-3-27b", "UD-Q4_K_XL", 16_796_522_208),
        # ggml-org/Llama-macOS pull request 63
        ("qwen3.5-9b", "UD-Q4_K_XL", 6.0e9),
        ("qwen3.5-27b", "UD-Q4_K_XL", 17.6e9),
    ],
)
def test_dynamic_files_of_other_dense_models(model: str, name: str, size: float) -> None:
    """None was looked at when the rule was made."""
    assert load_model(model, name).total_bytes == pytest.approx(size, rel=0.1)


@pytest.mark.parametrize("name", ["IQ4_K", "smol-IQ3_KS", "UD-Q4_K_M", "UD-IQ2_XS", "DQ4_K_R4"])
def test_a_scheme_of_experts_makes_a_dense_model_smaller_too(name: str) -> None:
    """Its feed-forward is stored as experts are, not in what stands beside experts."""
    scheme = find_scheme(name)
    assert scheme is not None
    assert scheme.of(is_dense=False) is scheme
    dense = load_model("qwen3-32b", name)
    assert dense.total_bytes < 0.75 * load_model("qwen3-32b", "Q8_0").total_bytes
    assert dense.quantization == scheme.name
    assert "dense" in dense.provenance.source
