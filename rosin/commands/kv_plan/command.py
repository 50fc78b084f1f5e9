"""`rosin kv-plan`: instances, tiers of KV and their rules for a workload."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.named_option import named, written
from rosin.cli.option_groups import OptionGroup
from rosin.cli.options import QuantizationOption
from rosin.cli.output import Output
from rosin.commands.simulate.serving_command import ServingOptions, split_serving_settings

if TYPE_CHECKING:
    from planner.serving.serving_plan import ServingPlan, ServingQuestion
    from planner.serving.target import ServingTarget
    from sim.serving.spec import ServingSpec

ModelName = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME", help="A model's name, or a model file; rosin models lists them."
    ),
]
MachineName = Annotated[
    str,
    typer.Option(
        "--machine",
        metavar="NAME",
        help="A machine's name, or a machine file; rosin machines lists them.",
    ),
]
WorkloadName = Annotated[
    str,
    typer.Option(
        "--workload",
        metavar="NAME|FILE",
        help="A request file (.yaml), a trace (.jsonl, .json, .csv), or a name.",
    ),
]
ServedObjective = Annotated[
    str,
    typer.Option(
        "--objective",
        metavar="WHAT",
        help="What to make best, on average: latency, ttft, tpot or throughput.",
    ),
]
TtftLimitOption = Annotated[
    float | None,
    named("--max-ttft", "SECONDS", "The fewest GPUs whose p90 of the time to first token is this."),
]
ItlLimitOption = Annotated[
    float | None,
    named(
        "--max-itl",
        "SECONDS",
        "The fewest GPUs whose p90 of a request's mean time between tokens is this.",
    ),
]
ServingFileOption = Annotated[
    Path | None, written("FILE", "Write the best as a serving file (.yaml).")
]


ChangeOption = Annotated[
    list[str] | None,
    named(
        "--set",
        "KEY=VALUE",
        "Change a number of the machine (link.h2d.bytes_per_s=50e9) or of the serving file (instance.kv_tokens=N); may be repeated.",
    ),
]
KvAgainstOption = Annotated[
    Path | None,
    named(
        "--against",
        "FILE",
        "What you run today, a configuration file of LMCache (.yaml): how far from the best it is.",
    ),
]
KvFigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw what was tried: .png, .svg or .pdf.")
]
KvFileOption = Annotated[
    Path | None, named("--kv-file", "FILE", "Write the best's tiers for rosin export (.yaml).")
]
DiskPathOption = Annotated[
    str | None,
    named("--disk-path", "FOLDER", "With --kv-file: where the tier disk is, such as /mnt/kv."),
]
RemoteUrlOption = Annotated[
    str | None,
    named(
        "--remote-url",
        "URL",
        "With --kv-file: where the tier remote is, such as redis://host:6379.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions(OptionGroup):
    """The served model and the machine, as typed."""

    model: ModelName
    machine: MachineName


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedOptions(ServingOptions):
    """The workload, which is required, and the options of serving, as typed."""

    workload: WorkloadName


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedOptions(OptionGroup):
    """The goal of the plan, the configuration to compare with, and changed settings, as typed."""

    objective: ServedObjective = "latency"
    max_ttft: TtftLimitOption = None
    max_itl: ItlLimitOption = None
    against: KvAgainstOption = None
    quantization: QuantizationOption = None
    settings: ChangeOption = None

    def target(self) -> "ServingTarget | None":
        """Return the limits on TTFT and ITL, or None if neither is given."""
        from planner.serving.target import ServingTarget

        target = ServingTarget(max_ttft_s=self.max_ttft, max_itl_s=self.max_itl)
        # Without either option the target asks for nothing, and the search then needs none.
        return None if target == ServingTarget() else target


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files(OptionGroup):
    """The files to write, and the places of tiers for the file of KV tiers."""

    output_file: ServingFileOption = None
    kv_file: KvFileOption = None
    disk_path: DiskPathOption = None
    remote_url: RemoteUrlOption = None
    figure: KvFigureOption = None

    def check(self, offered: "ServingSpec") -> None:
        """Check the files to write before a long search.

        Raises InputError if a file cannot be written, or if a file of KV tiers cannot express the
        offered tiers. A place of a tier without such a file is an error, too.
        """
        from hwprofiles import InputError
        from hwprofiles.text_file import check_yaml_target
        from planner.serving.kv_tiers import check_exportable

        for path, what in ((self.output_file, "a serving file"), (self.kv_file, "a file of tiers")):
            if path is not None:
                check_yaml_target(path, what)
        if self.figure is not None:
            from rosin.report.figure_style import check_figure

            check_figure(self.figure)
        if self.kv_file is not None:
            check_exportable(offered, disk_path=self.disk_path, remote_url=self.remote_url)
        elif self.disk_path is not None or self.remote_url is not None:
            name = "--disk-path" if self.disk_path is not None else "--remote-url"
            raise InputError(f"{name} needs --kv-file, which it is written to")

    def write(self, best: "ServingSpec", question: "ServingQuestion") -> None:
        """Write the files that were asked for; a plan without tiers has no file of tiers."""
        from hwprofiles import write_yaml
        from planner.serving.kv_tiers import kv_tiers_of
        from planner.serving.running import num_keeping_ranks

        if self.output_file is not None:
            write_yaml(best.model_dump(mode="json", exclude_none=True), self.output_file)
        if self.kv_file is not None and best.tiers:
            found = kv_tiers_of(
                best,
                question.requests.name,
                num_ranks=num_keeping_ranks(best, question.machine, question.model),
                disk_path=self.disk_path,
                remote_url=self.remote_url,
            )
            write_yaml(found.model_dump(mode="json", exclude_none=True), self.kv_file)


def kv_plan(
    *,
    site: SiteOptions,
    asked: ServedOptions,
    wanted: WantedOptions,
    files: _Files,
    output: Output,
) -> None:
    """Find how to serve a workload: instances and tiers of KV."""
    question, notes = _question(site, asked, wanted, output.seed)
    files.check(question.offered)
    found = _found(question, output)
    files.write(found.best.spec, question)
    _report(found, question, output, files, notes)


def _question(
    site: SiteOptions, asked: ServedOptions, wanted: WantedOptions, seed: int
) -> "tuple[ServingQuestion, tuple[str, ...]]":
    """Return the question that the options ask, and notes for the reader.

    Raises InputError for wrong input.
    """
    from hwprofiles import InputError, load_machine
    from planner.serving.serving_plan import ServingQuestion
    from sim.model.library import load_model
    from sim.serving.spec import load_serving

    overrides, changes, others = split_serving_settings(wanted.settings or ())
    if others:
        raise InputError(
            f"--set {next(iter(others))}: neither the machine nor a serving file has it"
        )
    question = ServingQuestion(
        machine=load_machine(site.machine, overrides),
        model=load_model(site.model, wanted.quantization),
        requests=asked.load(),
        offered=load_serving(asked.serving, changes, asked.tier_sizes()),
        objective=wanted.objective,
        num_requests=asked.requests,
        seed=seed,
        target=wanted.target(),
    )
    return (question, ()) if wanted.against is None else _with_running(question, wanted.against)


def _with_running(
    question: "ServingQuestion", path: Path
) -> "tuple[ServingQuestion, tuple[str, ...]]":
    """Return the question with the configuration that runs today, and a note on its unknown keys.

    If no tiers are offered, the tiers of that configuration are offered, since their memory exists.
    Raises InputError for a wrong file.
    """
    from hwprofiles.errors import shortened
    from planner.export.kv import load_lmcache
    from planner.serving.running import num_keeping_ranks, running_spec

    offered = question.offered
    num_ranks = num_keeping_ranks(offered, question.machine, question.model)
    read = load_lmcache(path, num_ranks, offered.tiers, offered.offload)
    running = running_spec(offered, question.machine, read.tiers, read.offload)
    if not offered.tiers:
        offered = offered.model_copy(update={"tiers": read.tiers})
    unknown = shortened(", ".join(read.unknown_keys))
    notes = (
        (f"{path}: LMCache 0.5.6 does not know these keys and runs without them: {unknown}",)
        if unknown
        else ()
    )
    return replace(question, offered=offered, against=running), notes


def _found(question: "ServingQuestion", output: Output) -> "ServingPlan":
    """Return the best plan. Raises NoFeasiblePlan if nothing fits or meets the target."""
    from planner.serving.offload import plan_serving
    from planner.serving.serving_plan import ServingPlan, TargetMissed
    from rosin.commands.kv_plan.page import missed
    from rosin.report.tables import shortfall

    with output.waiting("serving the trace") as waiting:
        found = plan_serving(question, lambda label: waiting.step(f"trying {label}"))
    if not isinstance(found, ServingPlan):
        raise NoFeasiblePlan(
            missed(found)
            if isinstance(found, TargetMissed)
            else f"no feasible plan: {shortfall(found)}"
        )
    return found


def _report(
    found: "ServingPlan",
    question: "ServingQuestion",
    output: Output,
    files: _Files,
    notes: tuple[str, ...],
) -> None:
    from rosin.commands.kv_plan.page import plan_record, serve_plan_page

    # The file of tiers is not written where the best has none.
    written = files.output_file, files.kv_file if found.uses_tiers else None
    result = plan_record(
        found, question, *(None if file is None else str(file) for file in written)
    )
    if files.figure is not None:
        from hwprofiles.text_file import write_bytes
        from rosin.commands.kv_plan.figure import draw_kv_plan

        with output.waiting("drawing"):
            write_bytes(draw_kv_plan(result, files.figure.suffix), files.figure)
    warnings = [
        *notes,
        *_warnings(found, question),
        *question.requests.notes(question.num_requests),
        *(_unsaid(found.best.spec) if files.kv_file is not None else ()),
    ]
    output.emit(result.model_dump(mode="json"), serve_plan_page(result), warnings=warnings)


def _warnings(found: "ServingPlan", question: "ServingQuestion") -> list[str]:
    """Return the warnings of the best run."""
    from sim.serving import Cluster, prepare
    from sim.serving.setting import serving_setting

    # The search keeps figures only, so the best is prepared once more for its warnings.
    cluster = prepare(serving_setting(found.best.spec, question.machine, question.model))
    return list(cluster.prices.warnings) if isinstance(cluster, Cluster) else []


def _unsaid(spec: "ServingSpec") -> Iterator[str]:
    """Yield each setting of the plan that the file of tiers cannot express, or that no file was
    written.
    """
    from sim.serving.offload_options import Loading

    if not spec.tiers:
        yield "--kv-file was not written: the best plan leaves offloading off, so it has no tiers"
    if spec.offload is not None and spec.offload.loading is Loading.CHEAPER:
        yield "LMCache loads whatever it finds: that only what is cheaper is loaded is not in the file of tiers"
    if spec.offload is not None and spec.offload.pins:
        yield "offload.pins are not in the file of tiers; LMCache is told to pin while it runs"
    if spec.offload is not None and spec.offload.blend is not None:
        yield "offload.blend is not in the file of tiers; the engine must be set up for CacheBlend"
    for tier in spec.tiers:
        if tier.compression is not None:
            yield f"tier {tier.name}: its compression is not in the file of tiers; LMCache has serde, of remote only"
        if tier.name == "remote" and tier.capacity_bytes is not None:
            yield "tier remote: its size is not in the file of tiers; the store itself must be told"
