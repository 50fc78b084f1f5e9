"""Predictions of a runtime's speed and memory.

A speed is in tokens a second, with an interval, what limits it, and what it rests on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.accelerate.eager import waiting_for_python
from sim.runtimes.caching.admission import with_admissions
from sim.runtimes.caching.locality import UNKNOWN_SPREAD
from sim.runtimes.constants import Constants, ConstantsFile, Phase, shipped, shipped_constants
from sim.runtimes.disk import decode_disk_s, prompt_disk_s
from sim.runtimes.features import Features
from sim.runtimes.intervals import interval_factor, stated_spread
from sim.runtimes.kernel_laws import covers_decode, decode_by_laws, laws_of, prompt_by_laws
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.memory import DeviceMemory, memory_of
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.prices import Seconds, decode_seconds, prefill_seconds
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import RuntimeSteps, prompt_threads, steps_of
from sim.runtimes.vllm.arguments import VllmArguments
from sim.runtimes.vllm.prefetch import beside_copies

PRICES: Mapping[Phase, Callable[[Features, Constants], Seconds]] = {
    "decode": decode_seconds,
    "prefill": prefill_seconds,
}

FITTED = (LLAMA_CPP, IK_LLAMA_CPP, KTRANSFORMERS)
"""Programs whose published speeds the constants were fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A constant that a prediction rests on.

    ``change_fraction`` is the relative change of tokens a second if the constant is one prior
    spread higher.
    """

    name: str
    meaning: str
    value: float
    change_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second, with an interval, how the time is spent, and the main assumption.

    ``seconds`` are by part. ``coverage_fraction`` is None for a program whose published speeds were
    not fitted. Its interval is as wide as for llama.cpp, and how often the interval holds is not
    known. ``is_by_measured_kernels``: the speed rests on laws that were measured on the machine
    with the program.
    """

    tokens_per_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    coverage_fraction: float | None
    seconds: Mapping[str, float]
    assumption: Assumption
    is_by_measured_kernels: bool = False

    @property
    def limit(self) -> str:
        """The part that takes most time."""
        return max(self.seconds, key=lambda name: self.seconds[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePrediction:
    """The speeds of both phases, and the memory by device.

    ``is_prompt_uploaded``: experts in host memory are copied to a GPU for the prompt.
    ``rests_on_probe`` and ``rests_on_assumed_rate`` say whether the host's memory rate was probed,
    or is assumed.
    """

    decode: Speed
    prefill: Speed
    memory: Mapping[str, DeviceMemory]
    is_prompt_uploaded: bool
    rests_on_probe: bool
    rests_on_assumed_rate: bool = False


def predict(question: RuntimeQuestion) -> RuntimePrediction:
    """Return the prediction for a question.

    Raises InputError where the arguments do not fit the machine.
    """
    steps = steps_of(question)
    return RuntimePrediction(
        decode=_speed(_decode_priced(question, steps), question.runtime in FITTED),
        prefill=_speed(_prefill_priced(question, steps), question.runtime in FITTED),
        memory=memory_of(question, steps.placement),
        is_prompt_uploaded=steps.uploads,
        rests_on_probe=question.host.probe_bytes_per_s is not None,
        rests_on_assumed_rate=question.host.is_probe_assumed,
    )


def seconds_of(
    question: RuntimeQuestion, placement: DevicePlacement | None = None
) -> tuple[Seconds, Seconds]:
    """Return the seconds of one decoded token and of the prompt, by part, as ``predict`` has them.

    A placement that is known is not evaluated again, so a search can price many.
    """
    steps = steps_of(question, placement)
    constants = shipped_constants()
    return (
        _decode_priced(question, steps).seconds(constants),
        _prefill_priced(question, steps).seconds(constants),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """A step, and the function that gives its seconds for a set of constants.

    ``error_fraction`` is the error of the measured laws; None where published constants price a
    part.
    """

    phase: Phase
    step: Features
    seconds: Callable[[Constants], Seconds]
    error_fraction: float | None = None


def _decode_priced(question: RuntimeQuestion, steps: RuntimeSteps) -> _Priced:
    step = steps.decode
    laws = laws_of(question, question.arguments.threads)
    disk_s = decode_disk_s(question, steps.placement)

    def _seconds(constants: Constants) -> Seconds:
        usual = decode_seconds(step, constants)
        found = laws and decode_by_laws(question, steps.placement, laws, usual)
        priced = found or usual
        if getattr(question.arguments, "expert_cache_mib", 0):
            priced = with_admissions(question.host, step, priced, constants)
        if isinstance(question.arguments, AccelerateArguments):
            priced = waiting_for_python(priced, question.model.num_layers, 1)
        if isinstance(question.arguments, VllmArguments):
            priced = beside_copies(priced, question.model, question.arguments, 1)
        return replace(priced, disk=disk_s)

    # The laws' own error holds only where they price everything that runs.
    is_whole = laws is not None and covers_decode(question, steps.placement, laws)
    error = laws.cpu.decode_error.value if laws is not None and is_whole else None
    return _priced("decode", step, _seconds, error)


def _prefill_priced(question: RuntimeQuestion, steps: RuntimeSteps) -> _Priced:
    step = steps.prefill
    laws = laws_of(question, prompt_threads(question))
    disk_s = prompt_disk_s(question, steps.placement, int(step.micro_batches))

    def _seconds(constants: Constants) -> Seconds:
        usual = replace(prefill_seconds(step, constants), disk=disk_s)
        # Laws were measured with experts where they are; copied ones are computed by other kernels.
        if isinstance(question.arguments, AccelerateArguments):
            usual = waiting_for_python(usual, question.model.num_layers, 1)
        if isinstance(question.arguments, VllmArguments):
            passes = int(step.micro_batches)
            usual = beside_copies(usual, question.model, question.arguments, passes)
        if laws is None or steps.uploads:
            return usual
        return prompt_by_laws(question, steps.placement, laws, usual) or usual

    error = None
    if laws is not None and laws.cpu.prompt_error is not None and not question.host.gpus:
        error = laws.cpu.prompt_error.value
    return _priced("prefill", step, _seconds, error)


def _priced(
    phase: Phase, step: Features, seconds: Callable[[Constants], Seconds], error: float | None
) -> _Priced:
    """Return a priced step; the laws' error counts only where laws gave the seconds."""
    constants = shipped_constants()
    usual = seconds(constants)
    # Compared by result: laws that cover nothing of this question leave the seconds as they were.
    is_by_laws = replace(usual, disk=0.0) != PRICES[phase](step, constants)
    return _Priced(
        phase=phase, step=step, seconds=seconds, error_fraction=error if is_by_laws else None
    )


def _speed(priced: _Priced, is_fitted: bool) -> Speed:
    file = shipped()
    seconds = priced.seconds(shipped_constants())
    speed = float(priced.step.tokens / seconds.total)
    factor = _interval_factor(priced, file)
    return Speed(
        tokens_per_s=speed,
        low_tokens_per_s=speed / factor,
        high_tokens_per_s=speed * factor,
        coverage_fraction=file.coverage_fraction if is_fitted else None,
        seconds={item.name: float(getattr(seconds, item.name)) for item in fields(Seconds)},
        assumption=_most_important(priced, file),
        is_by_measured_kernels=priced.error_fraction is not None,
    )


def _interval_factor(priced: _Priced, file: ConstantsFile) -> float:
    """Return the factor of the interval, from the laws' error or that of published constants."""
    if priced.error_fraction is not None:
        return 1.0 + priced.error_fraction
    seconds = priced.seconds(shipped_constants())
    # How often the page cache misses is not known, and matters by the share of time that reading
    # takes.
    unknown = float(seconds.disk / seconds.total) * UNKNOWN_SPREAD
    spread = stated_spread(
        lambda constants: priced.seconds(constants).total, shipped_constants(), file, priced.phase
    )
    return float(interval_factor(spread + unknown, file.spreads_to_an_end[priced.phase]))


def _most_important(priced: _Priced, file: ConstantsFile) -> Assumption:
    """The constant whose own spread moves the speed most."""
    constants = shipped_constants()
    usual = float(priced.seconds(constants).total)

    def _change(name: str) -> float:
        known = file.constants[name]
        moved = replace(constants, **{name: known.value * (1 + known.prior_spread)})
        return usual / float(priced.seconds(moved).total) - 1

    # All of them are tried: there are some thirty, and each takes one pricing.
    changes = {item.name: _change(item.name) for item in fields(Constants)}
    name = max(changes, key=lambda key: abs(changes[key]))
    known = file.constants[name]
    return Assumption(
        name=name, meaning=known.meaning, value=known.value, change_fraction=changes[name]
    )
