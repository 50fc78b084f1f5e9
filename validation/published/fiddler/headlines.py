"""The paper's headline ratios, each under every documented reading of what ran."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

from sim.model.library import load_model
from sim.routing import load_routing
from sim.workload.batch import Batch
from validation.published.fiddler.runs import MACHINES, Bench
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Comparison, Table

SINGLE_BATCHES = tuple(
    Batch(prompt_tokens=prompt, output_tokens=output)
    for prompt in (32, 64, 128, 256, 512)
    for output in (64, 256, 512)
)
PREFILLS = tuple(Batch(prompt_tokens=prompt, output_tokens=1) for prompt in (512, 1024, 2048, 4096))
BEAMS = tuple(Batch(prompt_tokens=32, output_tokens=64, beams=width) for width in (4, 8, 12, 16))
PHI = "phi-3.5-moe"
CONFIRMED_ERROR_FRACTION = 0.15
Seconds = Mapping[str, list[float]]
"""By environment, the time of each batch."""

ASSUMPTIONS = (
    "The paper's configurations are not all listed. Taken: single batch and both appendices, input 32 to 512 (5 lengths) by output "
    "64, 256, 512; prefill 512, 1024, 2048, 4096; beams 4, 8, 12, 16 at input 32, output 64. Means over both environments, or E1 alone "
    "where the row says so. Simulated is the first reading; the others follow. E2's DRAM rate and pageable rate, llama.cpp's CPU kernels "
    "and whether it page-locks its weights are assumed, not published."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to read what a system ran: its settings."""

    label: str
    system: str
    settings: Mapping[str, str]


FIDDLER = (
    Reading(label="paper's rule, pageable", system="Fiddler", settings={}),
    Reading(label="paper's rule, pinned", system="Fiddler", settings={"is_pinned": "true"}),
    Reading(label="main's constants", system="Fiddler", settings={"believed_cost": "code"}),
    Reading(
        label="cppExpert's constants",
        system="Fiddler",
        settings={"believed_cost": "cpp", "is_pinned": "true"},
    ),
    Reading(label="version 1", system="Fiddler v1", settings={}),
)
"""Of arXiv 2402.07033, algorithm 1, and of the branches main, cppExpert (which pins experts) and
dev (version 1) of its code.
"""

LLAMA_CPP = (
    Reading(label="llama.cpp pinned", system="llama.cpp", settings={}),
    Reading(label="llama.cpp pageable", system="llama.cpp", settings={"is_pinned": "false"}),
)
LLAMA_CPP_BEAMS = tuple(
    Reading(
        label=f"beams part {lag} tokens back",
        system="llama.cpp",
        settings={"beam_lag_tokens": str(lag)},
    )
    for lag in (1, 4, 16)
)
"""How far back beams part is not published: from the last token alone to a quarter of the answer.
"""

DEEPSPEED = (Reading(label="DeepSpeed-MII", system="DeepSpeed-MII", settings={}),)
OFFLOADING = (Reading(label="Mixtral-Offloading", system="Mixtral-Offloading", settings={}),)


def headline_table(bench: Bench) -> Table:
    """Baseline time over Fiddler's, larger is better for Fiddler."""
    shape = load_model(PHI)
    phi = Bench(routing=load_routing(None, shape), seed=bench.seed, shape=shape)
    single = _ratios(bench, LLAMA_CPP, SINGLE_BATCHES)
    streaming = _ratios(bench, DEEPSPEED, PREFILLS)
    swapping = _ratios(bench, OFFLOADING, PREFILLS)
    ratios = (
        single,
        _halfway(streaming, swapping),
        streaming,
        swapping,
        _ratios(bench, LLAMA_CPP_BEAMS, BEAMS, FIDDLER[:-1]),  # version 1 decodes one sequence only
        single,
        single,
        _ratios(phi, DEEPSPEED, SINGLE_BATCHES),
    )
    rows = published_rows("validation.published.fiddler", "headlines.csv")
    cells = tuple(_cell(row, found) for row, found in zip(rows, ratios, strict=True))
    return Table(name="headlines", title="Headline ratios", assumptions=ASSUMPTIONS, cells=cells)


def verdict(cell: Cell) -> str:
    """What the readings say of a published ratio: see the words returned.

    ``confirmed``: it lies among them, and the first is within 15 %. ``open``: it lies among them.
    ``not reached``: no reading gives it.
    """
    values = [cell.simulated, *(comparison.simulated for comparison in cell.comparisons)]
    if not min(values) <= cell.published <= max(values):
        return "not reached"
    return "confirmed" if abs(cell.error_fraction) <= CONFIRMED_ERROR_FRACTION else "open"


def _ratios(
    bench: Bench,
    baselines: tuple[Reading, ...],
    batches: tuple[Batch, ...],
    ours: tuple[Reading, ...] = FIDDLER,
) -> Mapping[str, Seconds]:
    """By pair of readings, the baseline's time over Fiddler's, by environment and batch."""
    of_fiddler = {reading.label: _seconds(bench, reading, batches) for reading in ours}
    of_baseline = {reading.label: _seconds(bench, reading, batches) for reading in baselines}
    return {
        f"{one}; {other}": {place: _divided(slow[place], fast[place]) for place in MACHINES}
        for one, fast in of_fiddler.items()
        for other, slow in of_baseline.items()
    }


def _seconds(bench: Bench, reading: Reading, batches: tuple[Batch, ...]) -> Seconds:
    return {
        place: [
            bench.run(place, reading.system, batch, reading.settings).end_to_end_s
            for batch in batches
        ]
        for place in MACHINES
    }


def _divided(slow: Iterable[float], fast: Iterable[float]) -> list[float]:
    return [one / other for one, other in zip(slow, fast, strict=True)]


def _halfway(first: Mapping[str, Seconds], second: Mapping[str, Seconds]) -> Mapping[str, Seconds]:
    """The mean of two baselines' ratios, reading by reading."""
    return {
        one.partition("; ")[0]: {
            place: [
                mean(pair) for pair in zip(first[one][place], second[other][place], strict=True)
            ]
            for place in MACHINES
        }
        for one, other in zip(first, second, strict=True)
    }


def _cell(row: PublishedRow, ratios: Mapping[str, Seconds]) -> Cell:
    places = MACHINES if row.environment == "both" else (row.environment,)
    means = {
        label: mean(value for place in places for value in values[place])
        for label, values in ratios.items()
    }
    default, *others = means.items()
    comparisons = tuple(Comparison(label=label, simulated=value) for label, value in others)
    by_place = "; ".join(f"{place} {mean(ratios[default[0]][place]):.2f}" for place in places)
    return cell_of(row, default[1], note=f"{default[0]}: {by_place}", comparisons=comparisons)
