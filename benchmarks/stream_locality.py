"""Fit the locality of generated streams to measured routing, as sim/runtimes/caching/streams.yaml has it.

    python benchmarks/stream_locality.py

An expert's own share of the variance follows from the spread of the experts' use: two tokens far apart
both choose it with a probability whose mean square that spread gives. The request's share and those that
fade follow from the coverage of stretches of 4 to 256 tokens. Takes minutes.
"""

import numpy as np
from scipy.optimize import brentq, least_squares
from scipy.stats import multivariate_normal, norm

from sim.model.library import load_model
from sim.runtimes.caching.latent import StreamShape, latent_stream
from sim.runtimes.caching.measured_routing import MeasuredRouting, measured_routing
from sim.runtimes.caching.stream_locality import (
    MEMORIES_TOKENS,
    covered,
)

TEXT_TOKENS = 512
"""Tokens of a text of the published measurement."""

NUM_TOKENS = 80 * TEXT_TOKENS
SEEDS = (1, 2, 3)


def own_share(use_spread: float, chosen_fraction: float) -> float:
    """The share at which use differs by that spread, where that part of the experts is chosen."""
    edge = norm.ppf(chosen_fraction)

    def missed(share: float) -> float:
        """What the mean square of the use lacks at that share."""
        both = multivariate_normal.cdf([edge, edge], cov=[[1, share], [share, 1]])
        return float(both / chosen_fraction**2 - 1 - use_spread**2)

    return float(brentq(missed, 1e-6, 0.9))


def fitted_shares(measured: MeasuredRouting, num_experts: int, top_k: int) -> list[float]:
    """All shares of a model, in the order of the file."""
    own = own_share(measured.use_spread, top_k / num_experts)

    def shares(logits: np.ndarray) -> np.ndarray:
        """What those logits leave each part, beside what is new with every token."""
        weights = np.exp(np.append(logits, 0.0))
        return np.asarray(np.append(own, weights[:3] / weights.sum() * (1 - own)))

    def errors(logits: np.ndarray) -> np.ndarray:
        """Differences in coverage; the logits themselves hardly count, so that none runs away."""
        spreads = np.sqrt(np.append(shares(logits), 1 - shares(logits).sum()))
        shape = StreamShape(NUM_TOKENS, num_experts, top_k, TEXT_TOKENS)
        found = [
            covered(
                latent_stream(shape, spreads, np.array(MEMORIES_TOKENS), seed),
                num_experts,
                TEXT_TOKENS,
            )
            for seed in SEEDS
        ]
        return np.append(np.mean(found, axis=0) - measured.covered, 1e-3 * logits)

    start = np.array([-1.0, -0.5, 1.0])
    return [
        round(float(share), 4)
        for share in shares(least_squares(errors, start, diff_step=0.03, max_nfev=14).x)
    ]


def main() -> None:
    """Print the shares of every model of the file."""
    for name, measured in measured_routing().models.items():
        model = load_model(name)
        print(name, fitted_shares(measured, model.num_experts, model.top_k), flush=True)


if __name__ == "__main__":
    main()
