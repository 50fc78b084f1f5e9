"""The choice: the price of every arm, its interval, and what is lost if the prediction is wrong."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.choice.arms import Arm, LeftOut, arms_of, single_card_arms
from planner.choice.question import ChoiceQuestion
from planner.choice.uncertain import (
    QUANTILE,
    Inputs,
    Uncertainty,
    law_spread,
    spread_beside,
    uncertainties,
)
from sim.runtimes.caching.experts import MissRule
from sim.runtimes.caching.pricing import cached_decode, cached_prefill
from sim.runtimes.constants import shipped, shipped_constants
from sim.runtimes.disk import decode_disk_s, prompt_disk_s
from sim.runtimes.placing import placement_of
from sim.runtimes.prices import Seconds, decode_seconds, prefill_seconds
from sim.runtimes.steps import steps_of

COVERAGE_FRACTION = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedInterval:
    """A speed in tokens a second, and the ends of an interval that covers ``coverage_fraction``.

    ``limit`` names the longest part of the time.
    """

    tokens_per_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    coverage_fraction: float
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenArm:
    """An arm with its speeds of decode and prefill.

    ``request_s`` is the predicted time of prompt and answer. ``expected_s`` is the mean of that
    time over the spreads of all inputs, whose logarithms have normal errors. So ``expected_s`` is
    the longer, the less is known of the arm. ``regret_fraction`` is the share of the best speed of
    a request that may be lost to another arm, ``regret_against``. The loss is taken at the bad end
    of the 80 % interval of the difference between the two arms. ``rests_on`` names the input that
    moves the prediction most.
    """

    arm: Arm
    decode: SpeedInterval
    prefill: SpeedInterval
    request_s: float
    expected_s: float
    regret_fraction: float
    regret_against: str | None
    rests_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """All arms, best first, and those that the machine does not allow."""

    arms: tuple[ChosenArm, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Price:
    """The seconds of a token, of a prompt, and of both together."""

    decode: Seconds
    prefill: Seconds
    prompt_tokens: int
    output_tokens: int

    @property
    def decode_s(self) -> float:
        """Seconds of one decoded token."""
        return float(self.decode.total)

    @property
    def prefill_s(self) -> float:
        """Seconds of the prompt."""
        return float(self.prefill.total)

    @property
    def request_s(self) -> float:
        """Seconds of the prompt and of every token after it."""
        return self.prefill_s + self.output_tokens * self.decode_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """Changes of the logarithms of an arm's three times [input], each input one spread up."""

    decode: tuple[float, ...]
    prefill: tuple[float, ...]
    request: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laws:
    """The spreads of the runtimes' laws in decode and in prefill, and the uncertain inputs.

    Published rows scatter about the laws by these spreads.
    """

    decode: float
    prefill: float
    inputs: tuple[Uncertainty, ...]

    def spread(self, changes: Sequence[float], of_laws: float) -> float:
        """Return the spread in the logarithm of the laws, and of the inputs that the laws do not
        have.
        """
        return spread_beside(self.inputs, changes, of_laws)


def choose(question: ChoiceQuestion) -> Choice:
    """Price every arm, and sort the arms by the expected time of prompt and answer, the shortest
    first.

    The first arm also has the least expected regret. There is no arm where none fits the machine;
    ``left_out`` then says why.
    """
    arms, left_out = arms_of(question)
    usual = Inputs(question=question, constants=shipped_constants())
    if len(question.host.gpus) > 1:
        arms = _on_best_cards(arms, usual)
    known = list(uncertainties(question, shipped()))
    laws = _Laws(
        decode=law_spread(question.runtime_question(0), "decode"),
        prefill=law_spread(question.runtime_question(0), "prefill"),
        inputs=tuple(known),
    )
    prices = {arm.arm: _price(arm, usual) for arm in arms}
    moved = {arm.arm: _moved(arm, usual, prices[arm.arm]) for arm in arms}
    found = [_chosen(arm, prices, moved, laws) for arm in arms]
    return Choice(arms=tuple(sorted(found, key=lambda own: own.expected_s)), left_out=left_out)


def _on_best_cards(arms: Sequence[Arm], usual: Inputs) -> tuple[Arm, ...]:
    """Return each arm on all GPUs or on one of them alone, whichever ends a request first."""
    best = {arm.arm: arm for arm in arms}
    for arm in single_card_arms(usual.question):
        known = best.get(arm.arm)
        if known is None or _price(arm, usual).request_s < _price(known, usual).request_s:
            best[arm.arm] = arm
    return tuple(best.values())


def _price(arm: Arm, inputs: Inputs) -> _Price:
    question = inputs.question.on(arm.gpus).run_by(arm.program)
    asked = question.runtime_question(arm.expert_layers, arm.arguments)
    if arm.cached is None:
        steps = steps_of(asked)
        decode = decode_seconds(steps.decode, inputs.constants)
        decode = replace(decode, disk=decode_disk_s(asked, steps.placement, question.locality))
        prefill = prefill_seconds(steps.prefill, inputs.constants)
        num_batches = int(steps.prefill.micro_batches)
        prefill = replace(prefill, disk=prompt_disk_s(asked, steps.placement, num_batches))
    else:
        made = cached_decode(asked, arm.cached, question.locality, question.rates, inputs.constants)
        decode = made.seconds
        prefill, step = cached_prefill(asked, arm.cached, inputs.constants)
        # Other rules find misses in host memory, which holds all experts.
        if arm.cached.misses is MissRule.STREAM:
            read_s = prompt_disk_s(asked, placement_of(asked), int(step.micro_batches))
            prefill = replace(prefill, disk=read_s)
    return _Price(
        decode=decode,
        prefill=prefill,
        prompt_tokens=question.prompt_tokens,
        output_tokens=question.output_tokens,
    )


def _moved(arm: Arm, inputs: Inputs, usual: _Price) -> _Moved:
    """Return the effects on an arm's times of each input one spread up.

    One spread down has an effect of the same size, if effects are small.
    """
    prices = [
        _price(arm, own.move(inputs, math.exp(own.spread)))
        for own in uncertainties(inputs.question, shipped())
    ]
    return _Moved(
        decode=tuple(math.log(price.decode_s / usual.decode_s) for price in prices),
        prefill=tuple(math.log(price.prefill_s / usual.prefill_s) for price in prices),
        request=tuple(math.log(price.request_s / usual.request_s) for price in prices),
    )


def _chosen(
    arm: Arm, prices: Mapping[str, _Price], moved: Mapping[str, _Moved], laws: _Laws
) -> ChosenArm:
    price = prices[arm.arm]
    own = moved[arm.arm]
    regret, against = _regret(arm.arm, prices, moved)
    changes = [abs(change) for change in own.request]
    return ChosenArm(
        arm=arm,
        decode=_interval(1 / price.decode_s, laws.spread(own.decode, laws.decode), price.decode),
        prefill=_interval(
            price.prompt_tokens / price.prefill_s,
            laws.spread(own.prefill, laws.prefill),
            price.prefill,
        ),
        request_s=price.request_s,
        expected_s=price.request_s * math.exp(sum(change**2 for change in own.request) / 2),
        regret_fraction=regret,
        regret_against=against,
        rests_on=laws.inputs[changes.index(max(changes))].name,
    )


def _regret(
    name: str, prices: Mapping[str, _Price], moved: Mapping[str, _Moved]
) -> tuple[float, str | None]:
    """Return the largest loss against another arm, as a share of speed, and that arm's name.

    The loss is 0 and the name None where no other arm could be faster.
    """
    worst = 0.0
    against = None
    for other, price in prices.items():
        ahead = math.log(price.request_s / prices[name].request_s)
        # An input moves both arms, so only the difference of its effects can change their order.
        pairs = zip(moved[name].request, moved[other].request, strict=True)
        spread = math.sqrt(sum((ours - theirs) ** 2 for ours, theirs in pairs))
        lost = 1 - math.exp(min(0.0, ahead - QUANTILE * spread))
        if other != name and lost > worst:
            worst = lost
            against = other
    return worst, against


def _interval(tokens_per_s: float, spread: float, seconds: Seconds) -> SpeedInterval:
    factor = math.exp(QUANTILE * spread)
    parts = {name: float(getattr(seconds, name)) for name in Seconds.__dataclass_fields__}
    return SpeedInterval(
        tokens_per_s=tokens_per_s,
        low_tokens_per_s=tokens_per_s / factor,
        high_tokens_per_s=tokens_per_s * factor,
        coverage_fraction=COVERAGE_FRACTION,
        limit=max(parts, key=lambda name: parts[name]),
    )
