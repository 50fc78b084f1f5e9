"""The uncertainty of an arm's predicted time, from the spreads of its inputs."""

import math
from dataclasses import replace

from planner.choice.question import ChoiceQuestion
from planner.choice.uncertain import Inputs, law_spread, spread_beside, uncertainties
from sim.runtimes.caching.experts import CachedExperts
from sim.runtimes.caching.locality import locality_of
from sim.runtimes.caching.pricing import CacheRates, cached_decode, cached_prefill
from sim.runtimes.constants import Phase, shipped, shipped_constants
from sim.runtimes.prices import decode_seconds, prefill_seconds
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import steps_of


def spread_of(
    question: RuntimeQuestion,
    phase: Phase,
    cached: CachedExperts | None,
    rates: CacheRates,
    *,
    is_link_measured: bool,
) -> tuple[float, float]:
    """Return two standard deviations of the logarithm of an arm's time.

    The first moves each input by its spread, as ``planner.choice`` compares arms. The second is
    that of the interval, and includes the scatter of laws.
    """
    usual = Inputs(
        question=ChoiceQuestion(
            host=question.host,
            host_memory_bytes=None,
            model=question.model,
            checkpoint=None,
            quantization=question.quantization,
            prompt_tokens=question.prompt_tokens,
            output_tokens=1,
            locality=locality_of(question.model.name),
            rates=rates,
            is_link_measured=is_link_measured,
        ),
        constants=shipped_constants(),
    )
    now_s = _seconds(question, phase, cached, usual)
    known = list(uncertainties(usual.question, shipped()))
    moved = (
        _seconds(question, phase, cached, own.move(usual, math.exp(own.spread))) for own in known
    )
    changes = [math.log(seconds / now_s) for seconds in moved]
    beside = spread_beside(known, changes, law_spread(question, phase))
    return math.sqrt(sum(change**2 for change in changes)), beside


def _seconds(
    question: RuntimeQuestion, phase: Phase, cached: CachedExperts | None, inputs: Inputs
) -> float:
    asked = replace(question, host=inputs.question.host)
    constants = inputs.constants
    if cached is None:
        steps = steps_of(asked)
        if phase == "decode":
            return float(decode_seconds(steps.decode, constants).total)
        return float(prefill_seconds(steps.prefill, constants).total)
    if phase == "prefill":
        return float(cached_prefill(asked, cached, constants)[0].total)
    known = inputs.question
    made = cached_decode(asked, cached, known.locality, known.rates, constants)
    return float(made.seconds.total)
