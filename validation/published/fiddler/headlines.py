"""The paper's headline ratios, each under every documented reading of what ran."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import mean

from sim.model.library import load_model
from sim.routing import load_routing
from sim.workload.batch import Batch
from validation.published.fiddler.readings import (
    BEAM_LAGS,
    DEEPSPEED,
    DIVERGENCES,
    LLAMA_CPP,
    MEASURED_BEAMS,
    OFFLOADING,
    Reading,
    fiddler_readings,
    llama_beams,
    measured_lags,
)
from validation.published.fiddler.runs import MACHINES, ModelBench
from validation.published.fiddler.timing import Seconds, single, whole
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Table

SINGLE_BATCHES = tuple(
    Batch(prompt_tokens=prompt, output_tokens=output)
    for prompt in (32, 64, 128, 256, 512)
    for output in (64, 256, 512)
)
PREFILLS = tuple(Batch(prompt_tokens=prompt, output_tokens=1) for prompt in (512, 1024, 2048, 4096))
BEAMS = tuple(Batch(prompt_tokens=32, output_tokens=64, beams=width) for width in (4, 8, 12, 16))
PHI = "phi-3.5-moe"
SERIAL = {"serial": "Fiddler"}
"""The one schedule that decodes beams; version 1 decodes one sequence only."""

ASSUMPTIONS = (
    "The paper's configurations are not all listed. Taken: single batch and both appendices, input 32 to 512 (5 lengths) by output "
    "64, 256, 512; prefill 512, 1024, 2048, 4096; beams 4, 8, 12, 16 at input 32, output 64. Means over both environments, or E1 alone "
    "where the row says so. Simulated is the first reading; the others follow. E2's DRAM rate and pageable rate, llama.cpp's CPU kernels "
    "and whether it page-locks its weights are assumed, not published."
)


def headline_table(bench: ModelBench) -> Table:
    """Return the headlines: a baseline's time over Fiddler's, larger if Fiddler is faster."""
    shape = load_model(PHI)
    phi = ModelBench(routing=load_routing(None, shape), seed=bench.seed, shape=shape)
    # Three rows of the paper state means over the same runs.
    against_llama = _divided_all(*_singles(bench, LLAMA_CPP))
    streaming = _wholes(bench, DEEPSPEED, PREFILLS, fiddler_readings())
    swapping = _wholes(bench, OFFLOADING, PREFILLS, fiddler_readings())
    # One entry for each row of headlines.csv, in the order of the file.
    ratios = (
        against_llama,
        _halfway(streaming, swapping),
        streaming,
        swapping,
        _divided_all(_by_reading(bench, _beam_readings(), BEAMS), _llama_beams(bench)),
        against_llama,
        against_llama,
        _divided_all(*_singles(phi, DEEPSPEED)),
    )
    rows = published_rows("validation.published.fiddler", "headlines.csv")
    cells = tuple(_cell(row, found) for row, found in zip(rows, ratios, strict=True))
    return Table(name="headlines", title="Headline ratios", assumptions=ASSUMPTIONS, cells=cells)


def _beam_readings() -> tuple[Reading, ...]:
    """Every reading with beams that share nothing, half and all of their tokens, in that order."""
    return tuple(
        replace(reading, label=f"{reading.label}, {words}", divergence=divergence)
        for words, divergence in DIVERGENCES.items()
        for reading in fiddler_readings(SERIAL)
    )


def _llama_beams(bench: ModelBench) -> Mapping[str, Seconds]:
    """Return llama.cpp's times by reading.

    Beams of llama.cpp part as far back as measured, or equally far back in every step.
    """
    lags = {batch.beams: measured_lags(batch.beams) for batch in BEAMS}
    # One run for each distance and width, though several steps part as far back.
    by_lag = {
        (batch.beams, lag): whole(bench, llama_beams(lag), (batch,))
        for batch in BEAMS
        for lag in {*lags[batch.beams], *BEAM_LAGS}
    }
    measured = {
        place: [
            mean(by_lag[batch.beams, lag][place][0] for lag in lags[batch.beams]) for batch in BEAMS
        ]
        for place in MACHINES
    }
    constant = {
        llama_beams(lag).label: {
            place: [by_lag[batch.beams, lag][place][0] for batch in BEAMS] for place in MACHINES
        }
        for lag in BEAM_LAGS
    }
    return {MEASURED_BEAMS: measured} | constant


def _singles(
    bench: ModelBench, baselines: tuple[Reading, ...]
) -> tuple[Mapping[str, Seconds], Mapping[str, Seconds]]:
    """Times of Fiddler and of a baseline for the paper's single sequences, by reading."""
    ours = single(bench, fiddler_readings(), SINGLE_BATCHES)
    return ours, single(bench, baselines, SINGLE_BATCHES)


def _wholes(
    bench: ModelBench,
    baselines: tuple[Reading, ...],
    batches: tuple[Batch, ...],
    ours: tuple[Reading, ...],
) -> Mapping[str, Seconds]:
    return _divided_all(_by_reading(bench, ours, batches), _by_reading(bench, baselines, batches))


def _by_reading(
    bench: ModelBench, readings: tuple[Reading, ...], batches: tuple[Batch, ...]
) -> Mapping[str, Seconds]:
    return {reading.label: whole(bench, reading, batches) for reading in readings}


def _divided_all(
    ours: Mapping[str, Seconds], baselines: Mapping[str, Seconds]
) -> Mapping[str, Seconds]:
    """Return the baseline's time over Fiddler's, for each pair of readings, by environment and
    batch.
    """
    return {
        f"{one}; {other}": {place: _divided(slow[place], fast[place]) for place in MACHINES}
        for one, fast in ours.items()
        for other, slow in baselines.items()
    }


def _divided(slow: Iterable[float], fast: Iterable[float]) -> list[float]:
    return [one / other for one, other in zip(slow, fast, strict=True)]


def _halfway(first: Mapping[str, Seconds], second: Mapping[str, Seconds]) -> Mapping[str, Seconds]:
    """Return the means of two baselines' ratios, reading by reading."""
    return {
        # Each baseline has one reading here, so Fiddler's own label tells pairs apart.
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
    by_place = "; ".join(f"{place} {mean(ratios[default[0]][place]):.2f}" for place in places)
    return cell_of(row, default[1], note=f"{default[0]}: {by_place}", comparisons=dict(others))
