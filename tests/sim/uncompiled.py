"""Kernels as plain Python: what shows in seconds, without compiling, that an edit of a kernel changed nothing.

``python -m tests.sim.uncompiled`` runs the batches of golden.py this way and says which results are not those written down.
"""

import json
import sys
from typing import Any

import numpy as np

from sim.engine.compilation import Kernel
from tests.sim import golden


class Record:
    """A row of a structured array whose fields are attributes, as compiled code sees it."""

    __slots__ = ("_row",)

    def __init__(self, row: np.void) -> None:
        object.__setattr__(self, "_row", row)

    def __getattr__(self, name: str) -> Any:
        if name not in self._row.dtype.names:
            raise AttributeError(name)
        return self._row[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self._row[name] = value


class Records(np.ndarray[Any, Any]):
    """A structured array whose rows are Records."""

    def __getitem__(self, key: Any) -> Any:
        """Return a Record for a row, and what numpy returns for all else."""
        found = super().__getitem__(key)
        return Record(found) if isinstance(found, np.void) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take a Record for a row."""
        super().__setitem__(key, value._row if isinstance(value, Record) else value)


def _run(kernel: Kernel, *arguments: Any) -> Any:
    """Run a kernel as it is written."""
    return kernel.py_func(*(_as_compiled_sees(argument) for argument in arguments))


def _as_compiled_sees(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.names and not isinstance(value, Records):
        return value.view(Records)
    if isinstance(value, np.void):
        return Record(value)
    if isinstance(value, tuple):
        parts = [_as_compiled_sees(part) for part in value]
        return tuple(parts) if type(value) is tuple else type(value)(*parts)
    return value


def uncompile() -> None:
    """Let every kernel of this process run as it is written, from now on."""
    Kernel.__call__ = _run  # type: ignore[method-assign]
    np.seterr(over="ignore")  # compiled integers wrap around without a word


def main() -> int:
    """Print what differs from golden.json, and return how many batches do."""
    uncompile()
    written = golden.written()
    figures = {name: golden.step_figures(scenario) for name, scenario in golden.SCENARIOS.items()}
    found = json.loads(json.dumps(figures))
    names = [name for name in found if written.get(name) != found[name]]
    for name in names:
        print(f"{name}: {found[name]}, written down is {written.get(name)}")
    print(f"{len(found) - len(names)} of {len(found)} batches are as written down")
    return len(names)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
