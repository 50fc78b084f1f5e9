"""`rosin caches`: how often expert caches miss under each policy, compared with the optimum."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output

if TYPE_CHECKING:
    from planner.study.caches import StreamOf
    from sim.model.model import Model
    from sim.runtimes.caching.stream import ExpertStream

MODELS = (
    "mixtral-8x7b,phi-3.5-moe,qwen1.5-moe-a2.7b,deepseek-v2-lite,olmoe-1b-7b,qwen3-30b-a3b,"
    "gpt-oss-20b,gpt-oss-120b,qwen2-57b-a14b"
)
ModelsOption = Annotated[
    str, typer.Option("--models", metavar="NAME,...", help="Models whose shape streams have.")
]
SharesOption = Annotated[
    str, typer.Option("--shares", metavar="SHARE,...", help="Shares of a layer's experts cached.")
]
TokensOption = Annotated[
    int, typer.Option("--tokens", metavar="N", min=100, help="Tokens of each generated stream.")
]
LayersOption = Annotated[
    int, typer.Option("--layers", metavar="N", min=1, help="Layers replayed of each model.")
]
TraceOption = Annotated[
    Path | None,
    named(
        "--routing",
        "TRACE.npz",
        "Replay a recorded trace of the one model named, not generated streams.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions(OptionGroup):
    """The number of tokens and layers that are replayed of each model."""

    tokens: TokensOption = 100_000
    layers: LayersOption = 1


FigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw misses by policy: .png, .svg or .pdf.")
]


def caches(
    *,
    models: ModelsOption = MODELS,
    shares: SharesOption = "0.125,0.25,0.375",
    streams: StreamOptions,
    routing: TraceOption = None,
    figure: FigureOption = None,
    output: Output,
) -> None:
    """Replay policies of expert caches on long streams."""
    from hwprofiles import InputError
    from hwprofiles.text_file import write_bytes
    from planner.study.caches import CacheStudy, medians, run_cache_study
    from rosin.commands.caches.figure import draw
    from rosin.commands.caches.page import caches_page
    from rosin.commands.caches.result import CacheStudyResult
    from rosin.report.figure_style import check_figure
    from sim.model.library import load_model

    # A wrong file name should fail before minutes of replaying, not after them.
    if figure is not None:
        check_figure(figure)
    loaded = [load_model(name.strip()) for name in models.split(",")]
    dense = next((model.name for model in loaded if model.is_dense), None)
    if dense is not None:
        raise InputError(f"{dense} has no experts, so there is nothing to cache")
    if routing is not None and len(loaded) != 1:
        raise InputError("--routing is a trace of one model: name it with --models")
    # As many layers are replayed of each model, so the one with the fewest sets the limit.
    most = min(len(model.moe_layers) for model in loaded)
    if streams.layers > most:
        raise InputError(f"--layers {streams.layers}: a model named has {most} layers with experts")
    stream_of = (
        _generated(streams.tokens, output.seed)
        if routing is None
        else _recorded(routing, streams.layers)
    )
    study = CacheStudy(
        models=loaded, shares=_shares(shares), num_layers=streams.layers, stream_of=stream_of
    )
    with output.waiting("replaying caches"):
        rows = run_cache_study(study)
    result = CacheStudyResult(
        tokens=streams.tokens if routing is None else None,
        layers=streams.layers,
        rows=tuple(rows),
        medians=tuple(medians(rows)),
    )
    if figure is not None:
        with output.waiting("drawing"):
            write_bytes(draw(result, figure.suffix), figure)
    output.emit(result.model_dump(mode="json"), caches_page(result))


def _shares(text: str) -> tuple[float, ...]:
    from hwprofiles import InputError

    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--shares {text}: shares such as 0.125,0.25 are needed") from None
    if not all(0 < share < 1 for share in shares):
        raise InputError(f"--shares {text}: each must lie between 0 and 1")
    return shares


def _generated(tokens: int, seed: int) -> "StreamOf":
    from hwprofiles import InputError
    from hwprofiles.limits import MAX_SEED, MAX_TOKENS
    from sim.runtimes.caching.stream_locality import stream_locality

    if tokens > MAX_TOKENS:
        raise InputError(f"--tokens {tokens}: at most {MAX_TOKENS:,}")
    # With one seed for all, every layer would have the same stream.
    return lambda model, layer: stream_locality(model).stream(
        model.num_experts, model.top_k, tokens, (seed + layer) % (MAX_SEED + 1)
    )


def _recorded(path: Path, layers: int) -> "StreamOf":
    """Return a function that gives the recorded experts of a layer of the trace.

    The ``layers`` layers that it gives are evenly spread over the depth of the trace.
    """
    from sim.routing.trace_file import load_trace
    from sim.runtimes.caching.stream import recorded_stream

    trace = load_trace(path)

    def stream_of(model: "Model", layer: int) -> "ExpertStream":
        """The recorded experts of a layer."""
        trace.check(model)
        place = layer * trace.expert_ids.shape[1] // layers
        return recorded_stream(trace.expert_ids[:, place], trace.num_experts)

    return stream_of
