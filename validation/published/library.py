"""The publications that can be reproduced, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hwprofiles import unknown_name
from validation.published.fiddler.tables import reproduce_fiddler
from validation.published.fmoe.tables import reproduce_fmoe
from validation.published.reproduction import Reproduction

REPRODUCTIONS: Mapping[str, Callable[[int, Path | None], Reproduction]] = {"fiddler": reproduce_fiddler, "fmoe": reproduce_fmoe}
"""The table, by name."""


def reproduction_names() -> tuple[str, ...]:
    """What ``rosin reproduce`` takes, sorted."""
    return tuple(sorted(REPRODUCTIONS))


def reproduce(name: str, seed: int = 0, routing_popularity: Path | None = None) -> Reproduction:
    """The tables of that publication, simulated. ``routing_popularity`` is a file of measured expert counts.

    Without it, what needs measured popularity is skipped with its reason. Raises InputError for an unknown name or an unreadable file.
    """
    if name not in REPRODUCTIONS:
        raise unknown_name("reproduction", name, REPRODUCTIONS)
    return REPRODUCTIONS[name](seed, routing_popularity)
