"""The publications that can be reproduced, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hwprofiles import unknown_name
from validation.published.fiddler.tables import reproduce_fiddler
from validation.published.fmoe.tables import reproduce_fmoe
from validation.published.hybrimoe.tables import reproduce_hybrimoe
from validation.published.kernels.tables import reproduce_kernels
from validation.published.ktransformers.tables import reproduce_ktransformers
from validation.published.lmcache.tables import reproduce_lmcache
from validation.published.offloading.tables import TITLES, reproduce_one
from validation.published.reproduction import Reproduction

REPRODUCTIONS: Mapping[str, Callable[[int, Path | None], Reproduction]] = {
    "fiddler": reproduce_fiddler,
    "fmoe": reproduce_fmoe,
    "hybrimoe": reproduce_hybrimoe,
    "kernels": reproduce_kernels,
    "ktransformers": reproduce_ktransformers,
    "lmcache": reproduce_lmcache,
} | {name: reproduce_one(name) for name in TITLES}
"""Functions that reproduce a publication, by name.

Each takes a seed and a file that a reader may have: measured popularity, or a request trace.
"""

ABOUT_REQUESTS = frozenset({"lmcache"})
"""The publications whose file is a request trace."""


def reproduction_names() -> tuple[str, ...]:
    """Return the names that ``rosin reproduce`` takes, sorted."""
    return tuple(sorted(REPRODUCTIONS))


def reproduce(
    name: str, seed: int = 0, routing_popularity: Path | None = None, requests: Path | None = None
) -> Reproduction:
    """Return the simulated tables of that publication.

    ``routing_popularity`` is a file of measured expert counts, ``requests`` a trace. Tables that
    need a file that is not given are skipped with their reason. Raises InputError for an unknown
    name or an unreadable file.
    """
    if name not in REPRODUCTIONS:
        raise unknown_name("reproduction", name, REPRODUCTIONS)
    return REPRODUCTIONS[name](seed, requests if name in ABOUT_REQUESTS else routing_popularity)
