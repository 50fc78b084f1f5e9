"""Commands that run operations need torch, which is not installed along with Rosin."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rosin.cli.output import Output


@contextmanager
def loading_torch(output: "Output") -> Iterator[None]:
    """Say that torch is being loaded while a command imports what imports it, for seconds on a cold
    disk; a signal that asks the command to stop takes effect right after.

    Torch calls Python from C++ while it loads: an interruption there ends the process by an abort.
    """
    from planner.search.interruption import undisturbed

    with output.waiting("loading torch"), undisturbed():
        yield


def require_torch(purpose: str) -> None:
    """Raise InputError, naming what to install, where torch is not installed. ``purpose`` as in
    "validate runs the plan".
    """
    from importlib.util import find_spec

    from hwprofiles import InputError

    # find_spec looks for a package without importing it: torch takes seconds to load.
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise InputError(
            f"{purpose} with torch, which is not installed: pip install 'rosin[validate]'"
        )
