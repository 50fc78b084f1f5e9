"""Test how far the grid's ranking rests on the stated skew of the routing.

``python -m benchmarks.ktransformers_sensitivity`` prints the ranking under other routings.
"""

from collections.abc import Iterator
from dataclasses import replace

from sim.model.library import load_model
from sim.routing import LatentRouting, Routing, load_routing, uniform
from sim.routing.latent import Fading, SharePoints
from validation.published.ktransformers.ranking import Ranking, noise_of
from validation.published.ktransformers.runs import bench
from validation.published.ktransformers.summary import BLIND
from validation.published.ktransformers.tables import published_grid, simulated_grid

SHARES = [0.1, 0.3, 0.5, 0.7, 0.9]
VARIANTS = ((1.0, 1.0), (0.5, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.25), (0.9, 4.0), (0.6, 16.0))
"""Factors on the shares that persist within a request, and on the share of popularity.

The first variant is the stated routing.
"""


def variants() -> Iterator[tuple[str, Routing]]:
    """Yield routings by name: the shipped statistics with scaled shares, then uniform routing."""
    stated = load_routing(None, load_model("qwen3-next-80b-a3b", "fp8"))
    assert isinstance(stated, LatentRouting)
    for persistence, popularity in VARIANTS:
        yield (
            f"persistence x {persistence:g}, popularity x {popularity:g}",
            scaled(stated, persistence, popularity),
        )
    yield "uniform", uniform()


def scaled(routing: LatentRouting, persistence: float, popularity: float) -> LatentRouting:
    """Return the routing with its persisting shares and its share of popularity multiplied."""
    stated = routing.numbers
    scaled_numbers = replace(
        stated,
        popularity_share=_times(stated.popularity_share, popularity),
        request_share=_times(stated.request_share, persistence),
        fading=tuple(
            Fading(memory_tokens=part.memory_tokens, share=_times(part.share, persistence))
            for part in stated.fading
        ),
    )
    return replace(routing, numbers=scaled_numbers)


def ranking(routing: Routing, seed: int = 0) -> Ranking:
    """Return the ranking of placements at the five SHARES, from one request."""
    published = published_grid(SHARES)
    given = bench(seed, routing=routing, num_requests=1)
    return Ranking(
        published=published,
        # Without experts on the GPU all placements are one, which shows the noise.
        simulated=simulated_grid(given, [0.0, *SHARES]),
        noise_fraction=noise_of(published),
    )


def _times(points: SharePoints, factor: float) -> SharePoints:
    return tuple((position, share * factor) for position, share in points)


if __name__ == "__main__":
    print(
        "| routing | tau | within shares | best right | worst right, random and uniform as one |\n|---|---|---|---|---|"
    )
    for name, variant in variants():
        found = ranking(variant)
        right = f"{len(found.right_best())} of {len(SHARES)} | {len(found.right_worst(BLIND))} of {len(SHARES)}"
        print(f"| {name} | {found.tau:.2f} | {found.tau_within_shares:.2f} | {right} |", flush=True)
