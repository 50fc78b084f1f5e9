"""Bounds on the mean over several draws of the routing, where one fixed placement has to serve all
draws.

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
    """Lower limits on the mean end-to-end time over some draws, in seconds.

    ``static_s`` is for plans whose residency stays fixed, ``clairvoyant_s`` for all lossless plans.
    ``byte_price_s`` is what one more byte of GPU memory would take off the static bound. ``kind``
    says what the plans with the least static bound stream. If ``are_alike``, the static bound is
    for the mean over these draws with each layer's experts renamed in every way.
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
    """Return the static bound for plans within ``rule``, and the clairvoyant bound for all that fit
    the card.

    ``are_alike``: the routing treats the experts of a layer alike
    (``Routing.treats_experts_alike``). The static bound may then average over their names, instead
    of holding for these very draws. For layers pipelined over micro-batches, both bounds are that
    of ``planner.bounds.lanes``.
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
    """Return the sum of the draws' bounds in ns; the first draw's multipliers prove all of them."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return first_ns + sum(
            threads.map(lambda work: repeated_bound(work, stores, guess)[0], works[1:])
        )
