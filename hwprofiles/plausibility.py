"""Warnings for overrides that are far from a machine's own numbers, as where a unit was
forgotten.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from hwprofiles.machine import Machine
from hwprofiles.quantity import Quantity

# A forgotten kilo, mega or giga is a factor of 1000 at least.
FAR_TIMES = 1000.0
"""A number that the user sets draws a warning if it is this many times larger or smaller than the
machine's own.
"""


def far_from_own(own: Machine, changed: Machine, overrides: Sequence[str]) -> Iterator[str]:
    """A sentence for each override that is FAR_TIMES or more away from the machine's own number.

    There is none where either number is 0, which switches a thing off or on.
    """
    for override in overrides:
        path = override.partition("=")[0]
        before = _effective(own, path)
        after = _effective(changed, path)
        if not before or not after:
            continue
        times = max(before / after, after / before)
        if times >= FAR_TIMES:
            way = "more" if after > before else "less"
            yield (
                f"{override} is {times:.0e} times {way} than the machine's own {before:g}; "
                "is a unit missing, as in 200GB or 200e9?"
            )


def _effective(machine: Machine, path: str) -> float | None:
    """The effective value of the quantity at that dotted path; None where no quantity is there."""
    part: Any = machine
    for key in path.split("."):
        part = part.get(key) if isinstance(part, dict) else getattr(part, key, None)
    return part.effective if isinstance(part, Quantity) else None
