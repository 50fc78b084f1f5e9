"""The import of torch for commands that run operations; Rosin does not install torch by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rosin.cli.output import Output


@contextmanager
def loading_torch(output: "Output") -> Iterator[None]:
    """Show that torch is being loaded, which takes seconds on a cold disk.

    A stopping signal takes effect after the ``with`` block. Torch calls Python from C++ while it
    loads, and an interruption there aborts the process.
    """
    from planner.search.interruption import undisturbed

    with output.waiting("loading torch"), undisturbed():
        yield


def require_torch(purpose: str) -> None:
    """Raise InputError, naming the package to install, if torch or safetensors is missing.

    ``purpose`` begins the message, such as "validate runs the plan".
    """
    from importlib.util import find_spec

    from hwprofiles import InputError

    # find_spec looks for a package without importing it: torch takes seconds to load.
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise InputError(
            f"{purpose} with torch, which is not installed: pip install 'rosin[validate]'"
        )
