"""The time that a reading takes: prompts are timed for each reading, a decoded token once."""

from collections.abc import Mapping
from dataclasses import replace

from hwprofiles import load_machine
from sim.routing.beams import BeamRouting
from sim.workload.batch import Batch
from validation.published.fiddler.readings import Reading
from validation.published.fiddler.runs import MACHINES, ModelBench

Seconds = Mapping[str, list[float]]
"""Times of the batches in seconds, by environment."""

DECODED_TOKENS = 256
"""Output tokens over which the time of a decoded token is a mean."""


def whole(bench: ModelBench, reading: Reading, batches: tuple[Batch, ...]) -> Seconds:
    """Return the times of whole runs, by environment and batch."""
    given = bench
    # Beams that share nothing are the routing as it is.
    if reading.divergence < 1.0:
        given = replace(bench, routing=_alike(bench, reading.divergence))
    return {
        place: [seconds(given, place, reading, batch)[0] for batch in batches] for place in MACHINES
    }


def single(
    bench: ModelBench, readings: tuple[Reading, ...], batches: tuple[Batch, ...]
) -> dict[str, Seconds]:
    """Return the times of single sequences, by reading.

    Readings differ in prompts alone. Under all readings, an expert of one token is computed where
    it lies, and copies of its activations make 0.02 %. So every reading times each prompt, but only
    the first times a decoded token. Attention of a decoded token is too short for the answer's
    length to matter.
    """
    prompts = sorted({batch.prompt_tokens for batch in batches})
    decoded = {
        (place, prompt): _tpot_s(bench, place, readings[0], prompt)
        for place in MACHINES
        for prompt in prompts
    }
    return {
        reading.label: _composed(bench, reading, batches, decoded, prompts) for reading in readings
    }


def _composed(
    bench: ModelBench,
    reading: Reading,
    batches: tuple[Batch, ...],
    decoded: Mapping[tuple[str, int], float],
    prompts: list[int],
) -> Seconds:
    read = {
        (place, prompt): seconds(
            bench, place, reading, Batch(prompt_tokens=prompt, output_tokens=1)
        )[0]
        for place in MACHINES
        for prompt in prompts
    }
    return {
        place: [
            read[place, batch.prompt_tokens]
            + (batch.output_tokens - 1) * decoded[place, batch.prompt_tokens]
            for batch in batches
        ]
        for place in MACHINES
    }


def _tpot_s(bench: ModelBench, place: str, reading: Reading, prompt: int) -> float:
    batch = Batch(prompt_tokens=prompt, output_tokens=DECODED_TOKENS)
    return seconds(bench, place, reading, batch)[1]


def seconds(bench: ModelBench, place: str, reading: Reading, batch: Batch) -> tuple[float, float]:
    """Return the seconds of the whole run and of a decoded token."""
    overrides: tuple[str, ...] = ()
    # At the full rate the machine keeps its own number, and its source.
    if reading.rate_fraction < 1.0:
        link = load_machine(MACHINES[place]).link
        rate = reading.rate_fraction * link.h2d.bytes_per_s.effective
        overrides = (f"link.h2d.bytes_per_s={rate}",)
    metrics = bench.run(place, reading.system, batch, reading.settings, overrides)
    return metrics.end_to_end_s, metrics.tpot_s


def _alike(bench: ModelBench, divergence: float) -> BeamRouting:
    return BeamRouting(base=bench.routing, divergence=divergence)
