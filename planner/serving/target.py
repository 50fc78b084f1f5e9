"""How soon most requests must be served, and how far a run is from that."""

from dataclasses import dataclass

from hwprofiles import InputError
from sim.serving import ServingMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingTarget:
    """Limits at the 90th percentile over requests: of the time to the first token, and of the mean
    time between a request's tokens.
    """

    max_ttft_s: float | None = None
    max_itl_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_ttft_s", self.max_ttft_s), ("max_itl_s", self.max_itl_s)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"`{name}` must be above 0 seconds, got {value:g}")

    def excess_fraction(self, metrics: ServingMetrics) -> float:
        """Return the fraction by which the run exceeds the limit that it misses by most; 0 if it
        misses none.
        """
        found = [
            (metrics.ttft_s.p90, self.max_ttft_s),
            # Answers of one token have no time between tokens, so they miss no limit on it.
            (metrics.tpot_s.p90 if metrics.tpot_s else 0.0, self.max_itl_s),
        ]
        return max([0.0, *(value / limit - 1 for value, limit in found if limit is not None)])
