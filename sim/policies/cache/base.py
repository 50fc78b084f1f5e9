"""The cache: what stays on the GPU, and what is evicted."""

from sim.costs.memory import Residency
from sim.policies.cache.score import Score
from sim.policies.cache.state import CacheState


class Cache:
    """Decides what stays and what is evicted: nothing ever (``is_static``), the worthless by a
    compiled ``score``, or code of its own.

    A part of your own need not be scored: then it implements ``start``.
    """

    is_static: bool = False
    """Whether what starts on the GPU stays there."""

    @property
    def score(self) -> Score | None:
        """What experts are kept for, where compiled code decides."""
        return None

    is_global: bool = False
    """Whether one budget serves all layers."""

    is_emptied: bool = False
    """Whether all that is held is given up once a pass has run; such a cache starts empty."""

    starts_empty: bool = False
    """Whether no slot holds an expert at time 0."""

    writes_back: bool = False
    """Whether an expert that leaves is copied to the host."""

    alpha: float = 0.0
    """The weight of a new gate, for the gate scores."""

    kept_per_choice: int = 0
    """How many shares count for each expert that a token selects, for the gate scores."""

    def start(self, residency: Residency) -> CacheState:
        """The cache at time 0, for a cache that is neither static nor scored; it knows no clock, so
        it goes with no prefetch.
        """
        raise NotImplementedError
