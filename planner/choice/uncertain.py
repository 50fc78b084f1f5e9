"""The uncertain inputs of the arms' predictions: the spread of each, and how to move it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from planner.choice.question import ChoiceQuestion
from sim.runtimes.caching.lanes import BOTH_SPREAD
from sim.runtimes.caching.pricing import PAGE_COPY_SPREAD
from sim.runtimes.constants import Constants, ConstantsFile, Phase, shipped, shipped_constants
from sim.runtimes.host import RuntimeHost
from sim.runtimes.intervals import stated_spread
from sim.runtimes.placing import placement_of
from sim.runtimes.prices import decode_seconds, prefill_seconds
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import decode_step, prompt_step

QUANTILE = 1.2816
"""Half the width of an interval that covers 80 %, over the standard deviation (normal errors)."""

MEASURED_SPREAD = 0.05
"""The spread of a rate that was measured on the machine: launches differ by this much."""

PROBE_SPREAD = 0.10
"""The spread of a rate that a program probed or an owner saw.

On one such desktop, weights were read 12 % slower than the probed rate; on six others, 7 % faster
in the median (docs/accuracy.md, docs/explanation/runtime-misses.md).
"""

DATASHEET_SPREAD = 0.15
"""The spread of a rate of a datasheet: published machines left out of the fit scatter by 0.13 to
0.16.
"""

GPU_SPREAD = 0.15
"""The spread of the GPU's part of a time.

The value is the prior spread of the share that the GPU reaches of its memory's rate
(sim/runtimes/constants.yaml).
"""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a price: the question, and the constants of the runtimes' laws."""

    question: ChoiceQuestion
    constants: Constants


Mover = Callable[[Inputs, float], Inputs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """One uncertain input, with its spread in the logarithm.

    ``move`` returns the inputs with this one multiplied by a factor. ``is_in_laws``: the scatter of
    published rows about the runtimes' laws contains this spread already.
    """

    name: str
    spread: float
    move: Mover
    is_in_laws: bool


def uncertainties(question: ChoiceQuestion, file: ConstantsFile) -> Iterator[Uncertainty]:
    """Yield every uncertain input for the question's machine and model."""
    has_both = question.rates.both_bytes_per_s is not None
    spreads: Mapping[str, float] = {
        "the rate at which the CPU reads experts": _reading_spread(question.host, file),
        "the rate of the link": MEASURED_SPREAD if question.is_link_measured else DATASHEET_SPREAD,
        "the rate of CPU and link at once": MEASURED_SPREAD if has_both else BOTH_SPREAD,
        "how often the cache misses": question.locality.spread,
        "the GPU's part": GPU_SPREAD,
        "a change of device": file.constants["crossing_us"].prior_spread / 2,
        "the rate of the disk": DATASHEET_SPREAD,
        "the copy out of the page cache": PAGE_COPY_SPREAD,
    }
    # MOVERS has this order; strict finds an input without a mover.
    for (name, spread), move in zip(spreads.items(), MOVERS, strict=True):
        yield Uncertainty(name=name, spread=spread, move=move, is_in_laws=move in IN_LAWS)


def _reading_spread(host: RuntimeHost, file: ConstantsFile) -> float:
    if host.is_probe_assumed:
        return file.constants["assumed_rate_fraction"].prior_spread
    return DATASHEET_SPREAD if host.probe_bytes_per_s is None else PROBE_SPREAD


def _cpu(inputs: Inputs, factor: float) -> Inputs:
    host = inputs.question.host
    moved = replace(
        host,
        # The clock too: where computing limits the CPU, the rate of DRAM changes nothing.
        clock_hz=host.clock_hz * factor,
        dram_bytes_per_s=None if host.dram_bytes_per_s is None else host.dram_bytes_per_s * factor,
        probe_bytes_per_s=None
        if host.probe_bytes_per_s is None
        else host.probe_bytes_per_s * factor,
    )
    return replace(inputs, question=replace(inputs.question, host=moved))


def _link(inputs: Inputs, factor: float) -> Inputs:
    host = inputs.question.host
    gpus = tuple(replace(gpu, link_bytes_per_s=gpu.link_bytes_per_s * factor) for gpu in host.gpus)
    return replace(inputs, question=replace(inputs.question, host=replace(host, gpus=gpus)))


def _both(inputs: Inputs, factor: float) -> Inputs:
    rates = inputs.question.rates
    moved = replace(rates, both_factor=rates.both_factor * factor)
    return replace(inputs, question=replace(inputs.question, rates=moved))


def _misses(inputs: Inputs, factor: float) -> Inputs:
    locality = inputs.question.locality
    moved = replace(locality, miss_factor=locality.miss_factor * factor)
    return replace(inputs, question=replace(inputs.question, locality=moved))


def _gpu(inputs: Inputs, factor: float) -> Inputs:
    constants = inputs.constants
    moved = replace(
        constants,
        gpu_read_fraction=constants.gpu_read_fraction * factor,
        # A factor above 1 means a faster GPU, which needs less time for a layer.
        gpu_layer_us=constants.gpu_layer_us / factor,
    )
    return replace(inputs, constants=moved)


def _crossing(inputs: Inputs, factor: float) -> Inputs:
    constants = inputs.constants
    return replace(inputs, constants=replace(constants, crossing_us=constants.crossing_us * factor))


def _disk(inputs: Inputs, factor: float) -> Inputs:
    host = inputs.question.host
    if host.disk is None:
        return inputs
    disk = replace(host.disk, bytes_per_s=host.disk.bytes_per_s * factor)
    return replace(inputs, question=replace(inputs.question, host=replace(host, disk=disk)))


def _page_copy(inputs: Inputs, factor: float) -> Inputs:
    rates = inputs.question.rates
    moved = replace(rates, page_factor=rates.page_factor * factor)
    return replace(inputs, question=replace(inputs.question, rates=moved))


def spread_beside(inputs: Iterable[Uncertainty], changes: Iterable[float], of_laws: float) -> float:
    """Return the joint spread of the runtimes' laws and of the inputs that these laws do not have.

    ``changes`` [input] says by how much the logarithm changes when an input rises by one spread.
    """
    others = (change**2 for own, change in zip(inputs, changes, strict=True) if not own.is_in_laws)
    return math.sqrt(of_laws**2 + sum(others))


def law_spread(asked: RuntimeQuestion, phase: Phase) -> float:
    """Return the spread in the logarithm of what the runtimes' laws give.

    The laws state their own intervals by this spread; ``asked`` leaves experts to the CPU.
    """
    file = shipped()
    placement = placement_of(asked)
    step = decode_step(asked, placement) if phase == "decode" else prompt_step(asked, placement)
    price = decode_seconds if phase == "decode" else prefill_seconds
    spread = stated_spread(
        lambda constants: price(step, constants).total, shipped_constants(), file, phase
    )
    return float(spread) * file.spreads_to_an_end[phase] / QUANTILE


MOVERS: tuple[Mover, ...] = (_cpu, _link, _both, _misses, _gpu, _crossing, _disk, _page_copy)
IN_LAWS = (_cpu, _link, _gpu, _crossing)
