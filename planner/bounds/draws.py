"""Bounds on the mean over several draws of the routing: one fixed placement has to serve them all,
so it can know none of them well.

A bound for a single draw compares a plan with the placement that suits the very tokens to come. The
more draws one placement must serve, the less such knowledge is worth. Both bounds hold for the mean
over exactly these draws; docs/explanation/bounds.md has the proof.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hwprofiles.units import NS_PER_S
from planner.bounds.clairvoyant import Guess, repeated_bound
from planner.bounds.lanes import lanes_bound_ns
from planner.bounds.relaxed import CardRuns, FixedPlans, Kind
from planner.bounds.rounding import seconds_below
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.work import Work, work_of
from planner.search.threads import NUM_THREADS
from sim.costs.memory import MemoryRule
from sim.policies.problem import Problem
from sim.step.simulate import Drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanBounds:
    """No plan of either class has a shorter mean over these draws. ``byte_price_s``: seconds a byte
    more of GPU memory would save.

    ``kind`` says what the plans with the least static bound stream. Where experts
    ``are_alike``, the static bound is of the mean over these draws with each layer's experts
    renamed in every way.
    """

    static_s: float
    clairvoyant_s: float
    byte_price_s: float
    num_draws: int
    kind: Kind = None
    are_alike: bool = False


def mean_bounds(
    problem: Problem, draws: Sequence[Drawn], rule: MemoryRule = LOOSEST, *, are_alike: bool = False
) -> MeanBounds:
    """Both bounds; the static one for plans within that memory rule, the clairvoyant one for all
    that fit the card.

    ``are_alike``: the routing treats the experts of a layer alike
    (``Routing.treats_experts_alike``), so the static bound may average over their names instead of
    holding for these very draws.
    """
    if problem.feeding.is_pipelined:
        least_s = sum(
            seconds_below(lanes_bound_ns(problem, drawn.passes, drawn.tokens)) for drawn in draws
        ) / len(draws)
        return MeanBounds(
            static_s=least_s, clairvoyant_s=least_s, byte_price_s=0.0, num_draws=len(draws)
        )
    works = works_of(problem, draws)
    with ThreadPoolExecutor(1) as threads:  # each search goes step by step: they run side by side
        first = threads.submit(repeated_bound, works[0], stores_of(problem, LOOSEST), None)
        card = CardRuns(works=works, stores=stores_of(problem, rule))
        static = FixedPlans(cards=[card], are_alike=are_alike).relaxed()
        clairvoyant_ns = _clairvoyant_ns(works, stores_of(problem, LOOSEST), *first.result())
    number = len(draws)
    return MeanBounds(
        # A fixed plan is one of those that the clairvoyant bound covers, too.
        static_s=seconds_below(max(static.ns, clairvoyant_ns) / number),
        clairvoyant_s=seconds_below(clairvoyant_ns / number),
        byte_price_s=static.byte_prices[0] / number / NS_PER_S,
        num_draws=number,
        kind=static.kind,
        are_alike=are_alike,
    )


def works_of(problem: Problem, draws: Sequence[Drawn]) -> list[Work]:
    """The work of each draw."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return list(
            threads.map(
                lambda drawn: work_of(problem, drawn.passes, drawn.tokens, drawn.selected), draws
            )
        )


def _clairvoyant_ns(works: Sequence[Work], stores: Stores, first_ns: float, guess: Guess) -> float:
    """The sum of the draws' bounds, each a proof of its own; the first draw's multipliers serve
    all.
    """
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return first_ns + sum(
            threads.map(lambda work: repeated_bound(work, stores, guess)[0], works[1:])
        )
