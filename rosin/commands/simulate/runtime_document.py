"""A prediction of a runtime as it is written to JSON."""

from typing import Annotated

from pydantic import SerializerFunctionWrapHandler, WrapSerializer

from rosin.report.document import Document
from sim.runtimes.memory import DeviceMemory
from sim.runtimes.predict import RuntimePrediction, Speed


class SpeedRange(Document):
    """A speed in tokens a second, with its range and its basis.

    ``coverage_fraction`` is the share of cases for which the range holds, or null if it is unknown.
    ``seconds`` has the time by part, and ``limit`` names the part that takes most.
    """

    tokens_per_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    coverage_fraction: float | None
    limit: str
    seconds: dict[str, float]
    assumption: str
    assumption_change_fraction: float
    is_by_measured_kernels: bool


class BothSpeeds(Document):
    """The speeds of decoding and of reading the prompt."""

    decode: SpeedRange
    prefill: SpeedRange


def _without_no_cache(memory: DeviceMemory, write: SerializerFunctionWrapHandler) -> dict[str, int]:
    written: dict[str, int] = write(memory)
    # Few programs have such a cache: readers of the other kinds need not know of it.
    if not memory.expert_cache:
        del written["expert_cache"]
    return written


MemoryByDevice = dict[str, Annotated[DeviceMemory, WrapSerializer(_without_no_cache)]]
"""Memory by device; ``expert_cache`` is written only where there is one."""


class RuntimeResult(Document):
    """The answer of ``rosin simulate --runtime``."""

    runtime: str
    runtime_args: str
    machine: str
    model: str
    quantization: str
    context_tokens: int
    prompt_tokens: int
    runtime_prediction: BothSpeeds
    memory_bytes: MemoryByDevice
    is_prompt_uploaded: bool
    rests_on: str


PROBE = "what the CPU's memory is stated to give"
ASSUMED = "a rate of the CPU's memory that the machine file assumes"
PARTS = "datasheets of the parts"
KERNELS = "kernels of the program that were measured on this machine"


def runtime_result(prediction: RuntimePrediction, **asked: str | int) -> RuntimeResult:
    """The document of a prediction; ``asked`` holds the fields that repeat the question."""
    both = BothSpeeds(
        decode=speed_range(prediction.decode), prefill=speed_range(prediction.prefill)
    )
    return RuntimeResult(
        **asked,  # type: ignore[arg-type]
        runtime_prediction=both,
        memory_bytes=dict(prediction.memory),
        is_prompt_uploaded=prediction.is_prompt_uploaded,
        rests_on=basis_words(prediction),
    )


def basis_words(prediction: RuntimePrediction) -> str:
    """Return in words what the speeds rest on."""
    # Kernels of the program itself tell more than the rate of the memory under them.
    if prediction.decode.is_by_measured_kernels:
        return KERNELS
    if prediction.rests_on_assumed_rate:
        return ASSUMED
    return PROBE if prediction.rests_on_probe else PARTS


def speed_range(speed: Speed) -> SpeedRange:
    """Return a speed as the JSON shows it."""
    return SpeedRange.of(
        speed,
        assumption=speed.assumption.meaning,
        assumption_change_fraction=speed.assumption.change_fraction,
        is_by_measured_kernels=speed.is_by_measured_kernels,
    )
