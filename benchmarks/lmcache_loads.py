"""Show at which load host memory gives 15 times the throughput.

    python -m benchmarks.lmcache_loads

The abstract of arXiv 2510.09665 says up to 15 times the throughput; it does not give the operating
point. Throughputs are compared at the baseline's TTFT, so a lower load of the baseline leaves more
to gain. The benchmark prints the gains by load for the three models of the table.
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
"""Loads as shares of the highest throughput of the baseline."""


def gain_at(model: str, loads: tuple[float, ...] = LOADS) -> dict[float, float]:
    """Return by load the highest rate with the baseline's TTFT, over the baseline's rate."""
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
    """Print a row for each model."""
    print("| model | " + " | ".join(f"{load:.0%}" for load in LOADS) + " |")
    print("|---" * (1 + len(LOADS)) + "|")
    for model in HISTORY_TOKENS:
        gains = gain_at(model)
        cells = " | ".join(f"{gains[load]:.1f}" for load in LOADS)
        print(f"| {model} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
