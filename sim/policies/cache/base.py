"""The cache: what stays on the GPU, and what is evicted."""

from sim.costs.memory import Residency
from sim.policies.cache.score import Score
from sim.policies.cache.state import CacheState


class Cache:
    """Decides which experts stay on the GPU, and which are evicted.

    A static cache (``is_static``) evicts none. A cache with a ``score`` evicts, in compiled code,
    the expert that is worth least. Any other cache decides by code of its own: it implements
    ``start``.
    """

    is_static: bool = False
    """Whether the experts that start on the GPU stay there."""

    @property
    def score(self) -> Score | None:
        """The score by which compiled code keeps experts; None: compiled code does not decide."""
        return None

    is_global: bool = False
    """Whether one budget of slots serves all layers."""

    is_emptied: bool = False
    """Whether the cache gives up every expert once a pass has run. Such a cache starts empty."""

    starts_empty: bool = False
    """Whether no slot holds an expert at time 0."""

    writes_back: bool = False
    """Whether an expert that leaves is copied to the host."""

    alpha: float = 0.0
    """The weight of a new gate in the gate scores."""

    kept_per_choice: int = 0
    """How many of a gate's largest shares count in the gate scores, for each expert that a token
    selects.
    """

    def start(self, residency: Residency) -> CacheState:
        """Return the state of the cache at time 0. A run asks for it where compiled code does not
        decide.

        The state knows no clock, so a cache without a score goes with no prefetch.
        """
        raise NotImplementedError
