"""The engines by name.

An engine is imported when it is first asked for, because the fast engine imports a compiler.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwprofiles import unknown_name
from sim.engine.program import Platform, Process, Program
from sim.engine.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine: a function that runs a program and a function that runs a process.

    Both follow ``docs/explanation/time.md`` and raise InputError for tasks that no engine accepts.
    """

    name: str
    run_program: Callable[[Program], Timeline]
    run_process: Callable[[Platform, Process], Timeline]


def _reference() -> Engine:
    from sim.engine.reference import run_process, run_program

    return Engine(name="reference", run_program=run_program, run_process=run_process)


def _fast() -> Engine:
    from sim.engine.fast import run_process, run_program

    return Engine(name="fast", run_program=run_program, run_process=run_process)


ENGINES: Mapping[str, Callable[[], Engine]] = MappingProxyType(
    {"fast": _fast, "reference": _reference}
)
"""Functions that import and return an engine, by its name; see ``engine``."""


def engine(name: str) -> Engine:
    """The engine of that name. Raises InputError for an unknown one."""
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    return ENGINES[name]()
