"""Finding a scheme by its public name, in capitals or not."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from hwprofiles import InputError
from hwprofiles.errors import shortened
from sim.model.importers.schemes.assumed import ASSUMED
from sim.model.importers.schemes.checkpoints import CHECKPOINTS, exllama_scheme
from sim.model.importers.schemes.llama_cpp import MIXES
from sim.model.importers.schemes.scheme import Scheme
from sim.model.quantization import SCHEMES

_SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {name: Scheme(name=name, classes=formats) for name, formats in SCHEMES.items()}
    | {name: Scheme(name=name, mix=mix) for name, mix in MIXES.items()}
    | dict(ASSUMED)
    | dict(CHECKPOINTS)
)
_LONGEST = 40
"""Characters of a misspelt name that are compared."""

_BY_FOLDED_NAME = MappingProxyType({name.lower(): scheme for name, scheme in _SCHEMES.items()})


def find_scheme(name: str) -> Scheme | None:
    """The scheme of that name, whatever its capitals; None where there is none."""
    return _BY_FOLDED_NAME.get(name.lower()) or exllama_scheme(name)


def scheme_named(name: str) -> Scheme:
    """The scheme of that name, whatever its capitals. Raises InputError for an unknown one."""
    found = find_scheme(name)
    if found is None:
        shown = shortened(repr(name))
        raise InputError(f"no quantisation scheme named {shown}{nearest_scheme(name)}")
    return found


def nearest_scheme(name: str) -> str:
    """A hint for a misspelt name, as an error has it: the nearest name, or all of them."""
    near = difflib.get_close_matches(name.lower()[:_LONGEST], _BY_FOLDED_NAME, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {_BY_FOLDED_NAME[near[0]].name!r}?"
    return f"; known: {', '.join(_SCHEMES)}"
