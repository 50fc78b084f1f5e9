"""Clusters with prices made up for tests, and requests for them."""

from collections.abc import Iterable
from typing import Any

from hwprofiles import Kind, Provenance
from sim.serving import (
    AttentionLine,
    AttentionPrice,
    Cluster,
    InstanceOptions,
    OpenLoop,
    ServingRun,
    StepPrices,
    serve,
)
from sim.serving.prices import TICKS_PER_NS
from sim.workload.requests.request import Request, Span

MADE_UP = Provenance(kind=Kind.ASSUMED, source="made up for tests", date="undated")


def constant_prices(step_ns: int, max_tokens: int = 64) -> StepPrices:
    """Every step takes as long."""
    base = (0, *[step_ns * TICKS_PER_NS] * max_tokens)
    return StepPrices(
        base=base, head=(0,) * (max_tokens + 1), attention=(), num_layers=1, provenance=MADE_UP
    )


def odd_prices(max_tokens: int = 64, window_tokens: int | None = 21) -> StepPrices:
    """Prices in odd fractions of a nanosecond, whose attention is now bound by reading, now by
    computing, one of two with a window.
    """
    base = tuple(token * 977_000_003 // 3 for token in range(max_tokens + 1))
    parts = (_attention(None, 5), _attention(window_tokens, 2))
    return StepPrices(
        base=base,
        head=tuple(3 * count + 1 for count in range(max_tokens + 1)),
        attention=parts,
        num_layers=7,
        provenance=MADE_UP,
    )


def _attention(window_tokens: int | None, num_layers: int) -> AttentionPrice:
    return AttentionPrice(
        num_layers=num_layers,
        window_tokens=window_tokens,
        floor=40_000_001,
        lines=(
            AttentionLine(fixed=9_000_007, token=13, kept=400_009, pair=0),
            AttentionLine(fixed=0, token=1_000_003, kept=7, pair=700_001),
        ),
    )


def cluster(
    prices: StepPrices, num_blocks: int = 1000, num_instances: int = 1, **options: Any
) -> Cluster:
    """Engines with those prices."""
    instance = InstanceOptions(
        **(
            {"max_step_tokens": len(prices.base) - 1, "max_sequences": 16, "block_tokens": 4}
            | options
        )
    )
    return Cluster(
        prices=prices, num_blocks=num_blocks, instance=instance, num_instances=num_instances
    )


def request(
    number: int,
    arrival_ns: int,
    prompt_tokens: int,
    output_tokens: int,
    content: int | None = None,
    **rest: Any,
) -> Request:
    """A request whose prompt is the start of one content; its own where none is named."""
    prompt = (
        Span(content=10_000 + number if content is None else content, num_tokens=prompt_tokens),
    )
    return Request(
        number=number, arrival_ns=arrival_ns, prompt=prompt, output_tokens=output_tokens, **rest
    )


def serve_all(served_by: Cluster, requests: Iterable[Request]) -> ServingRun:
    """Serve requests that come at their own times."""
    return serve(served_by, OpenLoop(requests=iter(requests)))
