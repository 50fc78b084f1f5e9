"""Where host memory serves 15 times as much: ``python -m benchmarks.lmcache_loads``.

The abstract of arXiv 2510.09665 says up to 15 times the throughput; its operating point is not
given. Throughput is compared at the TTFT that the baseline has, so the lower the baseline's load,
the more is left to gain. Printed are the gains by load, for the three models of the table.
"""

from validation.published.lmcache.multi_round import (
    HISTORY_TOKENS,
    HOST,
    SATURATING_REQUESTS_PER_S,
    highest_rate,
    served,
)
from validation.published.lmcache.serving import cluster_of, fewest_gpus

LOADS = (0.1, 0.2, 0.4, 0.8)
"""Shares of what the baseline can serve at all."""


def gain_at(model: str, loads: tuple[float, ...] = LOADS) -> dict[float, float]:
    """Return by load how many times as many requests a second have the baseline's TTFT."""
    num_gpus = fewest_gpus(model)
    alone = cluster_of(model, num_gpus)
    offloading = cluster_of(model, num_gpus, [HOST])
    most_per_s = served(alone, model, SATURATING_REQUESTS_PER_S).request_throughput_per_s
    found = {}
    for load in loads:
        rate_per_s = load * most_per_s
        ttft_s = served(alone, model, rate_per_s).ttft_s.mean
        found[load] = highest_rate(offloading, model, rate_per_s, ttft_s) / rate_per_s
    return found


def main() -> None:
    """Print a row a model."""
    print("| model | " + " | ".join(f"{load:.0%}" for load in LOADS) + " |")
    print("|---" * (1 + len(LOADS)) + "|")
    for model in HISTORY_TOKENS:
        gains = gain_at(model)
        cells = " | ".join(f"{gains[load]:.1f}" for load in LOADS)
        print(f"| {model} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
