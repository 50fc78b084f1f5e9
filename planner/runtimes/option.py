"""One way to start a runtime, priced by that runtime's own rules."""

from dataclasses import dataclass
from functools import cached_property

from planner.runtimes.load import RuntimeLoad
from sim.runtimes.arguments import Arguments
from sim.runtimes.memory import DeviceMemory, memory_of
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.predict import seconds_of
from sim.runtimes.question import RuntimeQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one round of a load: until the first token, and for each token that follows."""

    ttft_s: float
    tpot_s: float
    output_tokens: int

    @property
    def end_to_end_s(self) -> float:
        """Seconds from the request to the last token of the answer."""
        return self.ttft_s + self.output_tokens * self.tpot_s

    @property
    def output_tokens_per_s(self) -> float:
        """Answered tokens over the whole round, prompt included."""
        return self.output_tokens / self.end_to_end_s


# Without slots, because a cached property needs the object's dictionary.
@dataclass(frozen=True, kw_only=True)
class Option:
    """A runtime's arguments, with the placement, the memory and the time of a round that follow."""

    question: RuntimeQuestion
    placement: DevicePlacement
    memory: dict[str, DeviceMemory]
    load: RuntimeLoad

    @cached_property
    def timing(self) -> Timing:
        """The time of a round, priced when it is first asked for."""
        return timing_of(self.question, self.placement, self.load)

    @property
    def arguments(self) -> Arguments:
        """The runtime's arguments that make up the option."""
        return self.question.arguments


def option_of(question: RuntimeQuestion, placement: DevicePlacement, load: RuntimeLoad) -> Option:
    """Return the option of a question whose placement is known."""
    return Option(
        question=question,
        placement=placement,
        memory=memory_of(question, placement),
        load=load,
    )


def timing_of(question: RuntimeQuestion, placement: DevicePlacement, load: RuntimeLoad) -> Timing:
    """Return the seconds of a round, by the middle of the runtime's predictions."""
    decode, prefill = seconds_of(question, placement)
    return Timing(
        ttft_s=float(prefill.total),
        tpot_s=float(decode.total),
        output_tokens=load.output_tokens,
    )
