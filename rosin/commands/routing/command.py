"""`rosin routing`: import a trace of expert ids, fit a generator to one, and show the statistics of
either.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output

if TYPE_CHECKING:
    from sim.model.model import Model
    from sim.routing import RecordedRouting

FigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw the statistics: .svg, .png or .pdf.")
]


def import_(
    *,
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A trace of expert ids: .npz, .csv, .jsonl or .json."),
    ],
    destination: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The trace file to write (.npz).")
    ],
    experts: Annotated[
        int | None,
        named("--experts", "N", "Experts of a layer; by default the largest id and one.", least=1),
    ] = None,
    model: Annotated[
        str | None,
        named(
            "--model",
            "MODEL",
            "The model whose trace it must be; it says how many experts a layer has.",
        ),
    ] = None,
    output: Output,
) -> None:
    """Write a trace file from expert ids in another format."""
    from hwprofiles import InputError
    from hwprofiles.text_file import check_target
    from rosin.commands.routing.page import routing_tables
    from sim.model.library import load_model
    from sim.routing import import_trace, save_trace, statistics

    if destination.suffix != ".npz":
        raise InputError(f"-o {destination}: a trace file is .npz")
    check_target(destination)
    trace = import_trace(path, experts)
    if model is not None:
        trace = _of_model(trace, load_model(model))
    found = statistics(trace, output.seed)
    save_trace(trace, destination)
    output.emit(
        {"path": str(destination), "statistics": found},
        routing_tables({trace.name: found}),
        provenance=trace.provenance,
        warnings=trace.notes,
    )


def _of_model(trace: "RecordedRouting", model: "Model") -> "RecordedRouting":
    """Return the trace with the model's number of experts.

    Raises InputError for a trace of another shape.
    """
    from dataclasses import replace

    trace.check(model)
    return replace(trace, num_experts=model.num_experts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions(OptionGroup):
    """The options of the fitted generator."""

    task: Annotated[
        str | None, named("--task", "TEXT", "What the tokens are of; by default the file's name.")
    ] = None
    source: Annotated[
        str | None, named("--source", "TEXT", "Where the trace comes from; by default its path.")
    ] = None
    classes: Annotated[
        int,
        typer.Option(
            "--classes",
            min=1,
            max=256,
            metavar="N",
            help="Classes of tokens: more link layers better, and take longer.",
        ),
    ] = 8


def fit(
    *,
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="A trace of expert ids: .npz, .csv or .jsonl.")
    ],
    destination: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The routing file to write (YAML)."),
    ],
    fitted: FitOptions,
    figure: FigureOption = None,
    output: Output,
) -> None:
    """Fit a generator to a trace, and show the statistics of both."""
    from hwprofiles import write_yaml
    from hwprofiles.text_file import check_yaml_target
    from rosin.commands.routing.page import routing_tables
    from sim.routing import import_trace, statistics
    from sim.routing.fit_file import fit_file
    from sim.routing.sampling import generated_trace

    check_yaml_target(destination, "a routing file")
    _check_figure(figure)
    with output.waiting("fitting the generator", 4) as waiting:
        spec = fit_file(
            trace,
            task=fitted.task,
            source=fitted.source,
            num_classes=fitted.classes,
            seed=output.seed,
        )
        waiting.step("reading the trace again")
        # The fit keeps no trace, so its statistics need another reading.
        recorded = import_trace(trace)
        waiting.step("statistics of the trace")
        both = {"trace": statistics(recorded, output.seed)}
        waiting.step("statistics of the generator")
        both["generator"] = statistics(generated_trace(spec, output.seed), output.seed)
    # The file says only what differs from the defaults, so that people can read it.
    write_yaml(spec.model_dump(mode="json", exclude_defaults=True), destination)
    _draw(both, figure, output)
    payload = {"path": str(destination), "task": spec.task, **both}
    output.emit(
        payload, routing_tables(both), provenance=spec.routing().provenance, warnings=recorded.notes
    )


def stats(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="ROUTING...", help="Traces (.npz), routing files (.yaml), or uniform."
        ),
    ],
    model: Annotated[
        str | None, named("--model", "MODEL", "For statistics that fit no layers in particular.")
    ] = None,
    figure: FigureOption = None,
    output: Output,
) -> None:
    """Show the statistics of traces and generators, side by side."""
    from hwprofiles import weakest
    from rosin.commands.routing.page import routing_tables
    from sim.model.library import load_model
    from sim.routing import statistics
    from sim.routing.sampling import trace_of

    _check_figure(figure)
    shape = load_model(model) if model is not None else None
    found = {}
    with output.waiting("reading traces") as waiting:
        traces = {_label(source): trace_of(source, shape, output.seed) for source in sources}
        for name, each in traces.items():
            waiting.step(f"statistics of {name}")
            found[name] = statistics(each, output.seed)
    _draw(found, figure, output)
    provenance = weakest([each.provenance for each in traces.values()])
    output.emit({"statistics": found}, routing_tables(found), provenance=provenance)


def _label(source: str) -> str:
    """Return a short column head: the end of the file name, which says more than the start."""
    return Path(source).name[-24:]


def _draw(found: dict, figure: Path | None, output: Output) -> None:  # type: ignore[type-arg]  # the type would load numpy before help is shown
    from hwprofiles.text_file import write_bytes
    from rosin.commands.routing.figure import draw_routing

    if figure is not None:
        with output.waiting("drawing"):
            write_bytes(draw_routing(found, figure.suffix), figure)


def _check_figure(figure: Path | None) -> None:
    """Raise InputError, before any work, for a figure that cannot be drawn or written."""
    from rosin.report.figure_style import check_figure

    if figure is not None:
        check_figure(figure)
