"""How far a search is, and what it has ruled out so far."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from sim.step.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a search is: what it does, how much of that is done, and the best so far."""

    doing: str
    num_done: int
    num_in_all: int
    policy: str | None
    metrics: Metrics | None


Progress = Callable[[Step], None]


@dataclass(slots=True, kw_only=True)
class RuledOut:
    """Numbers of candidates by what ruled them out.

    ``memory``: they do not fit. ``constraints``: they are not what was asked for. ``closed_form``:
    a time that they cannot beat is more than ``close_fraction`` longer
    than another's run. ``short_runs``: others
    did as well or better in short runs. ``draws``: others did better over whole runs, on one draw
    or more. All other candidates met every draw.
    """

    memory: int = 0
    constraints: int = 0
    closed_form: int = 0
    short_runs: int = 0
    draws: int = 0

    @property
    def total(self) -> int:
        """How many candidates were ruled out, for whatever reason."""
        return sum(getattr(self, field.name) for field in fields(self))
