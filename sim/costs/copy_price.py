"""The price of a copy over a link: its latency and its bytes at the link's rate, or a measured
curve.
"""

import numpy as np
from numpy.typing import ArrayLike

from hwprofiles import Curve, Direction
from hwprofiles.units import NS_PER_S
from sim.costs.price import Price, Sizes, price_of


def copied(
    direction: Direction, curve: Curve | None, num_bytes: ArrayLike, *, is_pinned: bool
) -> Price:
    """Return the price of a copy of ``num_bytes`` in one direction of a link, from page-locked
    memory or not.
    """
    pageable = direction.pageable_bytes_per_s
    rate = direction.bytes_per_s if is_pinned or pageable is None else pageable
    latency = direction.latency_ns

    def linear(size: Sizes) -> Sizes:
        """ns of a copy of that many bytes without a curve."""
        return latency.effective + size / rate.effective * NS_PER_S

    # A copy of nothing takes its latency, and a curve needs a size above 0.
    sizes = np.maximum(np.asarray(num_bytes, np.float64), 1)
    return price_of(curve, sizes, linear, (rate.provenance, latency.provenance))
