"""Measure the computer at hand: everything that a machine file holds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from hwprofiles import InputError, Operation
from hwprofiles.units import MIB, format_bytes
from sim.model.model import Model
from validation.backend.pacing import without_garbage_search
from validation.measuring.bench import Bench
from validation.measuring.built import has_attention
from validation.measuring.grid import FULL, FULL_CUDA, QUICK, QUICK_CUDA, Grid
from validation.measuring.interference_probes import Factor, Load, measure_interference
from validation.measuring.lane_probes import LaneGaps, measure_gaps
from validation.measuring.memory_probes import copy_probes, read_benches, read_probes
from validation.measuring.model_probes import model_probes
from validation.measuring.place import Place
from validation.measuring.plausibility import Rejected, fastest_reads, plausible
from validation.measuring.probe import CurveKey, Probe
from validation.measuring.sampling import Budget, MeasuredPoint, Sampled, sample
from validation.measuring.surroundings import Surroundings, surroundings
from validation.measuring.workplace import (
    DTYPES,
    Emulation,
    Workplace,
    choose_device,
    split_cores,
    workplace,
)

LEAST_LOAD_BYTES = 4 * MIB
"""Least bytes of a copy beside which a lane is timed; a smaller one would mostly start and end."""

OnStage = Callable[[str, float], None]
"""Function called with the name of the present stage, and the share of it that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How thorough a measurement is: sizes, the time for curves, and repetitions of the rest."""

    grid: Grid
    cuda_grid: Grid
    budget: Budget
    num_gaps: int
    num_interference_rounds: int


EFFORTS: Mapping[str, Effort] = MappingProxyType(
    {
        "quick": Effort(
            grid=QUICK,
            cuda_grid=QUICK_CUDA,
            budget=Budget(total_s=45.0, most_point_s=0.4, most_rounds=30),
            num_gaps=200,
            num_interference_rounds=16,
        ),
        "full": Effort(
            grid=FULL,
            cuda_grid=FULL_CUDA,
            budget=Budget(total_s=300.0, most_point_s=1.5, most_rounds=40),
            num_gaps=1000,
            num_interference_rounds=40,
        ),
    }
)
"""The efforts by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The computer and formats to measure.

    ``device`` is ``auto``, ``cuda`` or ``cpu``. ``emulation`` states what a core that plays an
    accelerator cannot show. ``around`` describes the computer; None means that it is looked up.
    """

    device: str = "auto"
    dtypes: tuple[str, ...] = ("bf16",)
    emulation: Emulation = field(default_factory=Emulation)
    around: Surroundings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that a measurement found.

    ``left_out`` has a line for each thing that was not measured, with the reason. ``rejected`` has
    points that were measured but cannot be true.
    """

    is_cuda: bool
    around: Surroundings
    emulation: Emulation
    cpu_cores: tuple[int, ...]
    cold_bytes: int
    dtypes: tuple[str, ...]
    models: tuple[str, ...]
    curves: Mapping[CurveKey, tuple[MeasuredPoint, ...]]
    num_rounds: int
    gaps: LaneGaps
    factors: Sequence[Factor]
    rejected: Sequence[Rejected]
    left_out: Sequence[str]


def measure(
    models: Sequence[Model],
    subject: Subject = Subject(),
    *,
    effort: Effort = EFFORTS["full"],
    seed: int = 0,
    on_stage: OnStage = lambda stage, share: None,
) -> Findings:
    """Measure the operations that those models need.

    Raises InputError for a device or format that is not there, or too large a model.
    """
    dtypes = subject.dtypes
    check_dtypes(dtypes)
    stated = subject.emulation
    around = subject.around or surroundings()
    chosen = choose_device(subject.device)
    grid = effort.cuda_grid if chosen == "cuda" else effort.grid
    # Twice the largest, so that two runs in a row never read the same memory.
    largest = 2 * _largest_block(models)
    on_stage("memory", 0.0)
    with (
        without_garbage_search(),
        workplace(chosen, dtypes, around, stated, largest, max(grid.copy_bytes)) as place,
        _benches_of(place, around) as benches,
    ):
        # Only the finished workplace knows how much memory it got.
        _check_sizes(models, place)
        probes, too_large = _all_probes(models, place, around, dtypes, grid)
        found = sample(
            probes,
            benches,
            effort.budget,
            seed=seed,
            on_progress=lambda share: on_stage("operations", share),
        )
        curves, rejected = plausible(found.points, fastest_reads(found.points))
        on_stage("hand-overs", 0.0)
        # On the cores that lanes have in a run: one for the accelerator, the rest for the CPU.
        lane_gaps = measure_gaps(place.benches["gpu"], split_cores(around.cores), effort.num_gaps)
        loads = decode_loads(place.benches, curves)
        factors = measure_interference(
            loads, effort.num_interference_rounds, lambda share: on_stage("interference", share)
        )
        return Findings(
            is_cuda=place.is_cuda,
            around=around,
            emulation=stated,
            cpu_cores=place.cpu_cores,
            cold_bytes=place.cold_bytes,
            dtypes=dtypes,
            models=tuple(model.name for model in models),
            curves=curves,
            num_rounds=found.num_rounds,
            gaps=lane_gaps,
            factors=factors,
            rejected=rejected,
            left_out=(*too_large, *_left_out(models, found)),
        )


def check_dtypes(dtypes: Sequence[str]) -> None:
    """Check the formats. Raises InputError for one that is not measured."""
    for name in dtypes:
        if name not in DTYPES:
            raise InputError(f"`dtypes` {name}: not measured; {', '.join(DTYPES)} are")


@contextmanager
def _benches_of(place: Workplace, around: Surroundings) -> Iterator[dict[str, Bench]]:
    """Open the benches of all lanes, and those that read memory by threads."""
    reading = read_benches(around.cores)
    try:
        yield {**place.benches, **reading}
    finally:
        for bench in reading.values():
            bench.close()


def _largest_block(models: Iterable[Model]) -> int:
    """Return the bytes of the largest block that is read at once, in the widest format."""
    widest = max(dtype.itemsize for dtype in DTYPES.values())
    sizes = (
        widest * max(model.hidden * model.vocab, 3 * model.hidden * model.expert_intermediate)
        for model in models
    )
    return int(max(sizes))


def _check_sizes(models: Sequence[Model], place: Workplace) -> None:
    """Check that experts fit into the memory that is cycled. Larger other operations are left out.

    Raises InputError for an expert that does not fit.
    """
    had = min(cold.num_bytes for cold in place.cold.values())
    for model in models:
        needed = (
            max(cold.dtype.itemsize for cold in place.cold.values())
            * 3
            * model.hidden
            * model.expert_intermediate
        )
        if needed > had:
            raise InputError(
                f"`models` {model.name}: one expert takes {format_bytes(needed)}, and measuring uses {format_bytes(had)} of memory"
            )


def _all_probes(
    models: Sequence[Model],
    place: Workplace,
    around: Surroundings,
    dtypes: tuple[str, ...],
    grid: Grid,
) -> tuple[list[Probe], list[str]]:
    """Return each point once, even if several models have it, and lines on points that do not fit.

    A point is left out if its weights are larger than the memory that is cycled.
    """
    found = [*read_probes(place, around.cores, dtypes[0]), *copy_probes(place, grid.copy_bytes)]
    left_out: dict[str, None] = {}
    for model in models:
        for (bench, dtype), cold in place.cold.items():
            for probe in model_probes(model, Place(bench=bench, cold=cold, dtype=dtype), grid):
                if probe.weight_bytes <= cold.num_bytes:
                    found.append(probe)
                else:
                    left_out[
                        f"{probe.key.text}: larger than the {format_bytes(cold.num_bytes)} that measuring uses"
                    ] = None
    # Models that share a shape share its points.
    return list({(probe.key, probe.x): probe for probe in found}.values()), list(left_out)


def decode_loads(
    benches: Mapping[str, Bench], curves: Mapping[CurveKey, tuple[MeasuredPoint, ...]]
) -> dict[str, Load]:
    """Return what each lane does while decoding: an expert over few tokens, or a copy of an expert.

    Raises InputError if a lane has no curve of an expert.
    """
    loads: dict[str, Load] = {}
    experts: dict[str, MeasuredPoint] = {}
    for lane in ("gpu", "cpu"):
        # The first point of a curve is that of the fewest tokens; decoding has one.
        ones = [
            points[0]
            for key, points in curves.items()
            if key.operation is Operation.EXPERT and key.device == lane
        ]
        if not ones:
            raise InputError(
                f"every expert on the {lane} took less time than its memory allows; close other programs and measure again"
            )
        experts[lane] = point = max(ones, key=lambda one: one.probe.weight_bytes)
        loads[lane] = Load(bench=benches[lane], make=point.probe.make, lasts_ns=point.ns)
    expert_bytes = max(LEAST_LOAD_BYTES, *(point.probe.weight_bytes for point in experts.values()))
    for lane in ("h2d", "d2h"):
        copies = [
            point
            for key, points in curves.items()
            if key.operation is Operation.COPY and key.device == lane
            for point in points
        ]
        # What is copied while decoding is an expert.
        point = min(copies, key=lambda one: abs(one.probe.x - expert_bytes))
        loads[lane] = Load(bench=benches[lane], make=point.probe.make, lasts_ns=point.ns)
    return loads


def _left_out(models: Sequence[Model], found: Sampled) -> Iterable[str]:
    for key, size in found.left_out.items():
        yield f"{key.text} from {size:,} on: takes too long for the time given"
    for model in models:
        mixing = [index for index, layer in enumerate(model.layers) if layer.has_mixer]
        if not all(has_attention(model, layer) for layer in mixing):
            yield f"attention of {model.name}: of a kind that the backend does not run; priced by rates"
