"""Compiling the fast engine ahead of its first run, and saying so: the first use on a machine takes seconds, later ones do not."""

from collections.abc import Callable, Generator

import numpy as np

from sim.program import FULL_RATE, Platform, Program, Session, Wait
from sim.task import Discipline, Resource, Task, task_table

NOTICE = "compiling the simulator, once (about 10 s)…"
"""What to tell the user; the time was measured on two cores of a 2020s server, see ``docs/performance.md``."""


def needs_compilation() -> bool:
    """Whether the fast engine has to be compiled on this machine before it runs. Imports numba."""
    from sim.engine.acceptance import accept
    from sim.engine.compilation import is_kept
    from sim.engine.flat import flat_pass
    from sim.engine.kernels import admit, drop, promote, run

    return not all(is_kept(entry_point) for entry_point in (accept, admit, drop, flat_pass, promote, run))


def prepare(notify: Callable[[str], None]) -> None:
    """Load the fast engine; if it has to be compiled first, call ``notify`` with NOTICE before that, and do it."""
    if needs_compilation():
        notify(NOTICE)
    _run_every_kernel()


def _run_every_kernel() -> None:
    from sim.engine.fast import run_process, run_program

    in_order, by_priority = Resource(name="in order"), Resource(name="by priority", discipline=Discipline.PRIORITY)
    tasks = task_table([Task(resource=0, duration_ns=1), Task(resource=0, duration_ns=1)])
    run_program(Program(platform=Platform(resources=(in_order,)), tasks=tasks))

    def process(session: Session) -> Generator[Wait, None, None]:
        """One call of each kind."""
        session.submit(tasks)
        session.promote(1, 1)
        session.drop(1)
        yield (0,)

    factors = np.full((2, 2), FULL_RATE // 2, np.int64)
    run_process(Platform(resources=(in_order, by_priority), rate_factors=factors), process)
