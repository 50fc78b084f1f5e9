"""Fit the locality of generated streams to measured routing.

    python benchmarks/stream_locality.py

The shares are those of sim/runtimes/caching/streams.yaml. The spread of the experts' use gives an
expert's own share of the variance. Two tokens far apart both choose an expert with a probability
that is the mean square of its use. The spread of use gives that mean square. The coverage of
stretches of 4 to 256 tokens gives the request's share and the shares that fade. The fit takes
minutes.
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
"""Tokens of each text in the published measurement."""

NUM_TOKENS = 80 * TEXT_TOKENS
SEEDS = (1, 2, 3)


def own_share(use_spread: float, chosen_fraction: float) -> float:
    """Return an expert's own share of the variance at which the use of experts has that spread.

    ``chosen_fraction`` is the part of the experts that a token chooses.
    """
    edge = norm.ppf(chosen_fraction)

    def missed(share: float) -> float:
        """Return by how much the squared spread of use at that share exceeds the given one."""
        both = multivariate_normal.cdf([edge, edge], cov=[[1, share], [share, 1]])
        return float(both / chosen_fraction**2 - 1 - use_spread**2)

    return float(brentq(missed, 1e-6, 0.9))


def fitted_shares(measured: MeasuredRouting, num_experts: int, top_k: int) -> list[float]:
    """All shares of a model, in the order of the file."""
    own = own_share(measured.use_spread, top_k / num_experts)

    def shares(logits: np.ndarray) -> np.ndarray:
        """Return the shares that the logits stand for; what every token draws anew has the rest."""
        weights = np.exp(np.append(logits, 0.0))
        return np.asarray(np.append(own, weights[:3] / weights.sum() * (1 - own)))

    def errors(logits: np.ndarray) -> np.ndarray:
        """Return the differences in coverage, and the logits times 1e-3 so that none runs away."""
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
    """Print the fitted shares of every model of the file."""
    for name, measured in measured_routing().models.items():
        model = load_model(name)
        print(name, fitted_shares(measured, model.num_experts, model.top_k), flush=True)


if __name__ == "__main__":
    main()
