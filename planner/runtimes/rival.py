"""Rivals of a plan: usual ways to start the same runtime."""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.runtimes.asked import Asked
from planner.runtimes.option import Option

NO_FIT = "no setting of it fits"


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A usual way to start the runtime: its option, or the reason why there is none.

    ``is_offered``: the planner may choose the rival as the plan. A rival that is not offered is
    shown alone, whatever its speed.
    """

    name: str
    option: Option | None = None
    reason: str | None = None
    is_offered: bool = True


def best_rival(asked: Asked, name: str, found: Sequence[Option]) -> Rival:
    """Return the best of some options as one rival."""
    if not found:
        return Rival(name=name, reason=NO_FIT)
    return Rival(name=name, option=min(found, key=lambda option: asked.rank(option.timing)))
