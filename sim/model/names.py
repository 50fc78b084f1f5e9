"""Finding a model that ships by a name that people use: of a repository, a file of weights, or a
tag of a program.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hwprofiles import InputError
from hwprofiles.errors import SLIP_RATIO, closest, shortened
from sim.model.importers.schemes import find_scheme

_SITE = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/")
_PART_OF_A_FILE = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$")
_SCHEME_BEHIND_A_DOT = re.compile(r"\.(?=(ud-)?(i?q\d|bf16|f16|f32|mxfp4|w\d+a\d+))")
_MAKERS = ("meta-", "nvidia-", "ai21-")
_VARIANT = re.compile(
    r"gguf|instruct|chat|it|base|thinking|reasoning|hf|mlx|imatrix|i1|latest|preview|original|"
    r"abliterated|uncensored|heretic|pt|quantized|autoround|dwq|unsloth|\d{4}|\d{6}|1m|\d{2,3}k|"
    r"v\d(\.\d)?"
)
"""Words behind a name that leave the layers as they are: how the model was trained, a date, a
version, the container, a longest context.
"""
_MOST_SCHEME_WORDS = 3
_BEFORE_A_NUMBER = re.compile(r"(?<=[a-z])-(?=\d)")
"""A place where some write a hyphen and others none: ``phi-3.5-moe``, ``phi3.5-moe``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """The name of a model that ships, and the scheme that a user's name for it says; None: the
    model's own.
    """

    name: str
    quantization: str | None = None


def is_path(name: str) -> bool:
    """Whether a name can only be that of a file or folder.

    Such a name begins as a path, has the ending of a model file, or is a GGUF file in a folder.
    """
    has_folder = "/" in name or "\\" in name
    ending = name.lower().endswith((".yaml", ".yml", ".json"))
    return name.startswith(("/", ".", "~")) or ending or (has_folder and name.endswith(".gguf"))


def named_model(name: str, known: Mapping[str, str]) -> NamedModel | None:
    """The model that a name stands for, whatever its capitals; None where it stands for none.

    ``known`` has the model's name in the library by each of its names. An owner, a maker's name and
    words of variants are passed over; a scheme among them is kept.
    """
    return next(
        (found for text in _spellings(name) if (found := _read(text, known)) is not None), None
    )


def unknown_model(name: str, known: Mapping[str, str]) -> InputError:
    """Return the error for a name that stands for no model, with the part that is not understood or
    the nearest name.
    """
    is_file = name.lower().endswith(".gguf")
    what = (
        f"no model file {shortened(name)}" if is_file else f"no model named {shortened(repr(name))}"
    )
    stem = next(_spellings(name))
    # A slip of the pen goes first: its end is no unknown variant.
    if difflib.get_close_matches(stem, known, n=1, cutoff=SLIP_RATIO):
        return InputError(f"{what}{closest(stem, known)}")
    for text in _spellings(name):
        words = text.split("-")
        for count in range(len(words) - 1, 0, -1):
            whole = "-".join(words[:count])
            if whole in known:
                rest = shortened(repr("-".join(words[count:])))
                return InputError(
                    f"{what}: {known[whole]!r} is a model, but {rest} is neither a quantisation "
                    "nor a variant of its layers"
                )
    return InputError(f"{what}{_nearest(stem, set(known.values()))}")


def _spellings(name: str) -> Iterator[str]:
    """The name in small letters without site, owner and ending, in the ways it may be split."""
    text = _SITE.sub("", name.strip().lower())
    text = _PART_OF_A_FILE.sub("", text).replace(" ", "-").replace(":", "-")
    text = _SCHEME_BEHIND_A_DOT.sub("-", text.rpartition("/")[2])
    yield text
    for maker in _MAKERS:
        if text.startswith(maker):
            yield text.removeprefix(maker)
    # Some put the owner before the name with a low line, others write all hyphens so.
    if "_" in text:
        yield text.partition("_")[2]
        yield text.replace("_", "-")


def _read(text: str, known: Mapping[str, str]) -> NamedModel | None:
    words = text.split("-")
    quantization: str | None = None
    # From the end, as variants and schemes stand there; a name that is known whole goes first.
    loose = {_loose(each): model for each, model in known.items()}
    while words:
        stem = "-".join(words)
        model = known.get(stem) or loose.get(_loose(stem))
        if model is not None:
            return NamedModel(name=model, quantization=quantization)
        count = _num_scheme_words(words) if quantization is None else 0
        if count:
            quantization = "-".join(words[-count:])
            words = words[:-count]
        elif _VARIANT.fullmatch(words[-1]):
            words = words[:-1]
        else:
            return None
    return None


def _loose(text: str) -> str:
    return _BEFORE_A_NUMBER.sub("", text)


def _bare(text: str) -> str:
    """The name without schemes and variants at its end; the first word always stays."""
    words = text.split("-")
    while len(words) > 1:
        count = _num_scheme_words(words) or int(_VARIANT.fullmatch(words[-1]) is not None)
        if not count:
            break
        words = words[:-count]
    return "-".join(words)


def _nearest(text: str, names: Iterable[str]) -> str:
    """Return the end of an error: the nearest name, else the names of the same family, else what to
    give instead.
    """
    stem = _bare(text)
    if difflib.get_close_matches(stem, names, n=1):
        return closest(stem, names)
    family = re.match(r"[a-z]{3,}", stem)
    kin = [name for name in sorted(names) if family and name.startswith(family.group())]
    instead = "; rosin models lists those that ship; a config.json or GGUF file is read too"
    return f"; of that family: {', '.join(kin)}" if kin else instead


def _num_scheme_words(words: list[str]) -> int:
    """The number of last words that together name a scheme; 0 where they name none."""
    for count in range(min(_MOST_SCHEME_WORDS, len(words) - 1), 0, -1):
        if find_scheme("-".join(words[-count:])) is not None:
            return count
    return 0
