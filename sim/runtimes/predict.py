"""What a runtime does with a question: tokens a second with an interval, what limits them, and what
they rest on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from sim.runtimes.constants import Constants, ConstantsFile, Phase, shipped, shipped_constants
from sim.runtimes.features import Features
from sim.runtimes.intervals import half_width
from sim.runtimes.memory import DeviceMemory, memory_of
from sim.runtimes.prices import Seconds, decode_seconds, prefill_seconds
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import steps_of

PRICES: Mapping[Phase, Callable[[Features, Constants], Seconds]] = {
    "decode": decode_seconds,
    "prefill": prefill_seconds,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A constant, and the share by which tokens a second change when it is one prior spread higher."""

    name: str
    meaning: str
    value: float
    change_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second, between which ends, how the time is spent, and the assumption that matters
    most.
    """

    tokens_per_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    coverage_fraction: float
    seconds: Mapping[str, float]
    assumption: Assumption

    @property
    def limit(self) -> str:
        """The part that takes most time."""
        return max(self.seconds, key=lambda name: self.seconds[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePrediction:
    """Both phases and the memory by device.

    ``is_prompt_uploaded``: experts in host memory are copied to a GPU for the prompt.
    """

    decode: Speed
    prefill: Speed
    memory: Mapping[str, DeviceMemory]
    is_prompt_uploaded: bool
    rests_on_probe: bool


def predict(question: RuntimeQuestion) -> RuntimePrediction:
    """Place, count and price. Raises InputError where the arguments do not fit the machine."""
    steps = steps_of(question)
    file = shipped()
    return RuntimePrediction(
        decode=_speed("decode", steps.decode, file),
        prefill=_speed("prefill", steps.prefill, file),
        memory=memory_of(question, steps.placement),
        is_prompt_uploaded=steps.uploads,
        rests_on_probe=question.host.probe_bytes_per_s is not None,
    )


def _speed(phase: Phase, step: Features, file: ConstantsFile) -> Speed:
    constants = shipped_constants()
    seconds = PRICES[phase](step, constants)
    speed = float(step.tokens / seconds.total)
    factor = float(half_width(step, file.intervals[phase]))
    return Speed(
        tokens_per_s=speed,
        low_tokens_per_s=speed / factor,
        high_tokens_per_s=speed * factor,
        coverage_fraction=file.coverage_fraction,
        seconds={item.name: float(getattr(seconds, item.name)) for item in fields(Seconds)},
        assumption=_most_important(phase, step, constants, file),
    )


def _most_important(
    phase: Phase, step: Features, constants: Constants, file: ConstantsFile
) -> Assumption:
    """The constant whose own spread moves the speed most."""
    usual = float(PRICES[phase](step, constants).total)

    def change(name: str) -> float:
        known = file.constants[name]
        moved = replace(constants, **{name: known.value * (1 + known.prior_spread)})
        return usual / float(PRICES[phase](step, moved).total) - 1

    changes = {item.name: change(item.name) for item in fields(Constants)}
    name = max(changes, key=lambda key: abs(changes[key]))
    known = file.constants[name]
    return Assumption(
        name=name, meaning=known.meaning, value=known.value, change_fraction=changes[name]
    )
