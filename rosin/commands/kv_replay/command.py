"""`rosin kv-replay`: the hit rates that pools of KV blocks would have had on a request trace."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output
from rosin.cli.sizes import read_size
from rosin.cli.trace_options import TraceOptions

if TYPE_CHECKING:
    from sim.serving.kv import Pool, TouchOrder
    from sim.workload.requests import RequestsSpec

LADDER = "16GiB,64GiB,256GiB,1TiB,4TiB,inf"
ALL = "all"
TRACE_HELP = "A trace (.jsonl, .json, .csv), a request file (.yaml), or the name of one that ships."
CapacityOption = Annotated[
    str,
    typer.Option("--capacity", metavar="SIZE,...", help="Sizes to try, such as 64GiB,512GiB,inf."),
]
BlockOption = Annotated[
    int,
    typer.Option("--block-tokens", metavar="N", help="Tokens of a block; 256 is LMCache's chunk."),
]
BytesOption = Annotated[
    int | None,
    named("--bytes-per-token", "N", "KV bytes that a token takes; otherwise as --model says."),
]
KvModelOption = Annotated[
    str | None, named("--model", "NAME", "The model whose KV bytes a token takes (16 bit).")
]
EvictionOption = Annotated[
    str,
    typer.Option(
        "--policy", metavar="NAME,...", help="lru, lfu, fifo, mru, arc, several of them, or all."
    ),
]
OrderOption = Annotated[
    str,
    typer.Option(
        "--order",
        metavar="head-first|tail-first",
        help="Which end of a prompt counts as used last: its tail (as LMCache's simulator has it) or its head (as its servers do).",
    ),
]
LimitOption = Annotated[
    int | None, named("--requests", "N", "Stop after that many; otherwise run them all.", least=1)
]
FigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw hit rate by size: .png, .svg or .pdf.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions(OptionGroup):
    """The options that describe the pools, as typed."""

    capacity: CapacityOption = LADDER
    block_tokens: BlockOption = 256
    bytes_per_token: BytesOption = None
    model: KvModelOption = None
    policy: EvictionOption = "lru"
    order: OrderOption = "head-first"


def kv_replay(
    *,
    trace: Annotated[str, typer.Argument(metavar="TRACE", help=TRACE_HELP)],
    tried: PoolOptions,
    requests: LimitOption = None,
    figure: FigureOption = None,
    traced: TraceOptions,
    output: Output,
) -> None:
    """Find the hit rates of KV pools over a request trace."""
    from hwprofiles.text_file import write_bytes
    from rosin.commands.kv_replay.figure import draw_kv
    from rosin.commands.kv_replay.page import kv_replay_page
    from rosin.commands.kv_replay.result import MANY_POOLS, Replay, is_nested, kv_replay_result
    from rosin.report.figure_style import check_figure
    from sim.workload.requests import load_requests

    if figure is not None:
        check_figure(figure)
    pools = _pools(tried.policy, tried.capacity, _touch_order(tried.order))
    token_bytes = _bytes_per_token(tried.bytes_per_token, tried.model)
    spec = _limited(load_requests(trace, traced.units()), requests)
    asked = Replay(
        spec=spec,
        block_tokens=tried.block_tokens,
        bytes_per_token=token_bytes,
        seed=output.seed,
    )
    with output.waiting("replaying all sizes of LRU pools") as waiting:
        # The curve takes a pass of its own: for few pools and no figure, their replays are quicker.
        curve = asked.curve() if len(pools) >= MANY_POOLS or figure is not None else None
        result = kv_replay_result(asked, asked.run(pools, curve, waiting.step), curve)
    if figure is not None:
        # The curve is of LRU pools alone: without one of them it does not belong to the figure.
        shown = curve if any(is_nested(pool) for pool in pools) else None
        with output.waiting("drawing"):
            write_bytes(draw_kv(result, shown, figure.suffix), figure)
    warnings = (
        ()
        if spec.says_what_is_shared
        else (f"{trace} does not say what prompts have in common, so nothing can be found",)
    )
    output.emit(
        result.model_dump(mode="json"), kv_replay_page(result), warnings=(*warnings, *spec.notes())
    )


def _limited(spec: "RequestsSpec", requests: int | None) -> "RequestsSpec":
    """Return the spec with at most ``requests`` requests.

    Raises InputError if all of them would be warm-up requests.
    """
    from hwprofiles import InputError

    if requests is None:
        return spec
    if requests <= spec.num_warmup_requests:
        raise InputError(
            f"--requests {requests}: the first {spec.num_warmup_requests} only warm up, so more are needed"
        )
    return spec.model_copy(update={"num_requests": min(requests, spec.num_requests or requests)})


def _pools(policies: str, capacities: str, order: "TouchOrder") -> list["Pool"]:
    """Return a pool for each policy and each size, with the policies outermost.

    Raises InputError for an unknown policy or a wrong size.
    """
    from sim.serving.kv import EVICTIONS, Pool, eviction

    names = list(EVICTIONS) if policies == ALL else _listed("--policy", policies)
    for name in names:
        # This raises InputError for an unknown name, before any trace is read.
        eviction(name)
    sizes = [_size(text) for text in _listed("--capacity", capacities)]
    return [
        Pool(capacity_bytes=size, policy=name, touch_order=order)
        for name in names
        for size in dict.fromkeys(sizes)
    ]


def _listed(option: str, text: str) -> list[str]:
    from hwprofiles import InputError

    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise InputError(f"{option} {text!r}: name at least one")
    return parts


def _size(text: str) -> int | None:
    size = read_size("--capacity", text, least=1, takes_inf=True)
    return None if size == inf else int(size)


def _touch_order(text: str) -> "TouchOrder":
    from hwprofiles import InputError, closest
    from sim.serving.kv import TouchOrder

    try:
        return TouchOrder(text)
    except ValueError:
        raise InputError(
            f"--order {text}: unknown order{closest(text, [order.value for order in TouchOrder])}"
        ) from None


def _bytes_per_token(stated: int | None, model: str | None) -> int:
    from hwprofiles import InputError

    if (stated is None) == (model is None):
        raise InputError(
            "say how many bytes a token takes with exactly one of --bytes-per-token N and --model NAME"
        )
    if stated is not None:
        return stated
    from sim.model.library import load_model

    return load_model(str(model)).kv_bytes_per_token
