"""Finding a scheme by its public name, in capitals or not, or by another spelling."""

from collections.abc import Mapping
from types import MappingProxyType

from hwprofiles import InputError
from hwprofiles.errors import closest, shortened
from sim.model.importers.schemes.assumed import ASSUMED
from sim.model.importers.schemes.checkpoints import CHECKPOINTS, exllama_scheme
from sim.model.importers.schemes.derived import derived_scheme
from sim.model.importers.schemes.llama_cpp import MIXES
from sim.model.importers.schemes.scheme import Scheme
from sim.model.importers.schemes.spellings import usual_spelling
from sim.model.quantization import SCHEMES

_SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {name: Scheme(name=name, classes=formats) for name, formats in SCHEMES.items()}
    | {name: Scheme(name=name, mix=mix) for name, mix in MIXES.items()}
    | dict(ASSUMED)
    | dict(CHECKPOINTS)
)
# File names have them in capitals, people type them small.
_BY_FOLDED_NAME = MappingProxyType({name.lower(): scheme for name, scheme in _SCHEMES.items()})


def find_scheme(name: str) -> Scheme | None:
    """The scheme of that name, whatever its capitals and spelling; None where there is none."""
    found = _BY_FOLDED_NAME.get(name.lower())
    if found is not None:
        return found
    usual = usual_spelling(name)
    known = _BY_FOLDED_NAME.get(usual.lower())
    return known or exllama_scheme(usual) or derived_scheme(usual)


def scheme_named(name: str) -> Scheme:
    """The scheme of that name, whatever its capitals. Raises InputError for an unknown one."""
    found = find_scheme(name)
    if found is None:
        shown = shortened(repr(name))
        raise InputError(f"no quantisation scheme named {shown}{nearest_scheme(name)}")
    return found


def nearest_scheme(name: str) -> str:
    """A hint for a misspelt name, as an error has it: the nearest name, or all of them."""
    return closest(name, _SCHEMES)
