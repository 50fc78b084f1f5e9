"""Names of schemes and models however they are typed: capitals, owners, dates, containers, schemes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.model.importers.schemes import find_scheme
from sim.model.importers.schemes.assumed import ASSUMED
from sim.model.importers.schemes.checkpoints import CHECKPOINTS
from sim.model.importers.schemes.llama_cpp import MIXES
from sim.model.importers.schemes.names import scheme_named
from sim.model.library import load_spec, model_names
from sim.model.names import named_model, unknown_model
from sim.model.quantization import SCHEMES

MODELS = model_names()
NAMES = {name: name for name in MODELS} | {
    other: name for name in MODELS for other in load_spec(name).other_names
}
"""As the library has them: each name of a model, and the model."""
SCHEME_NAMES = sorted({*SCHEMES, *MIXES, *ASSUMED, *CHECKPOINTS})
OWNERS = ("", "Qwen/", "unsloth/", "hf.co/bartowski/", "https://huggingface.co/mradermacher/")
VARIANTS = ("", "-Instruct", "-Instruct-2507", "-it", "-Base", "-128K", "-v1.5", "-i1")


def _typed(draw: st.DrawFn, text: str) -> str:
    """The text with capitals anywhere."""
    return "".join(draw(st.sampled_from([each.lower(), each.upper()])) for each in text)


@st.composite
def scheme_names(draw: st.DrawFn) -> tuple[str, str]:
    """A scheme's name in any capitals, and its own."""
    name = draw(st.sampled_from(SCHEME_NAMES))
    return _typed(draw, name), name


@st.composite
def model_files(draw: st.DrawFn) -> tuple[str, str, str | None]:
    """What a repository, a file or a tag is called, the model that it holds, and its scheme."""
    name = draw(st.sampled_from(sorted(NAMES)))
    typed = _typed(draw, name) + draw(st.sampled_from(VARIANTS))
    scheme = draw(st.none() | st.sampled_from(sorted(MIXES)))
    owner = draw(st.sampled_from(OWNERS))
    form = draw(st.sampled_from(["file", "parts", "repository", "tag"]))
    if form in ("file", "parts"):
        ending = "-00001-of-00007.gguf" if form == "parts" else ".gguf"
        return f"{typed}-{scheme}{ending}" if scheme else f"{typed}{ending}", NAMES[name], scheme
    if form == "tag":
        return f"{owner}{typed}-GGUF:{scheme or 'latest'}", NAMES[name], scheme
    return f"{owner}{typed}" + (f"-{scheme}" if scheme else ""), NAMES[name], scheme


@given(scheme_names())
def test_schemes_are_found_whatever_their_capitals(typed: tuple[str, str]) -> None:
    """Each under its own name."""
    found = find_scheme(typed[0])
    assert found is not None
    assert found.name == typed[1]


@given(st.text(max_size=40) | st.text("QIqi12348_KMSXL-.URTudfbpw ", max_size=20))
def test_any_text_is_a_scheme_or_refused_in_one_line(name: str) -> None:
    """What is found is found again by the name that it goes by."""
    found = find_scheme(name)
    if found is not None:
        again = find_scheme(found.name)
        assert again is not None
        assert again.name == found.name
        return
    with pytest.raises(InputError, match="no quantisation scheme named") as caught:
        scheme_named(name)
    assert "\n" not in str(caught.value)


@given(bits=st.integers(100, 800).map(lambda hundredths: hundredths / 100), kind=st.integers(2, 3))
def test_bits_of_exllama_are_taken_as_stated(bits: float, kind: int) -> None:
    """From 1 to 8 bits a weight, with a point or without, and refused outside."""
    found = find_scheme(f"EXL{kind}-{bits:g}bpw")
    assert found is not None
    for wrong in (bits / 100, bits + 8):
        assert find_scheme(f"EXL{kind}-{wrong:g}bpw") is None


@given(model_files())
def test_a_file_is_its_model_and_scheme(typed: tuple[str, str, str | None]) -> None:
    """Owner, date, variant and container are passed over; a scheme in the name is taken."""
    text, model, scheme = typed
    found = named_model(text, NAMES)
    assert found is not None, text
    assert found.name == model
    if scheme is None:
        assert found.quantization is None
        return
    assert found.quantization is not None
    taken = find_scheme(found.quantization)
    assert taken is not None
    assert taken.name.lower() == scheme.lower()


@given(st.text(max_size=60) | model_files().map(lambda typed: f"{typed[0]}-zzq"))
def test_any_other_name_is_refused_in_one_line(name: str) -> None:
    """A name stands for one model, or the error says which part is not understood."""
    found = named_model(name, NAMES)
    if found is not None:
        assert found.name in MODELS
        return
    error = unknown_model(name, NAMES)
    assert str(error).startswith("no model ")
    assert "\n" not in str(error)
