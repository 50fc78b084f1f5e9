"""How a plan is made: the search in a setting, and the bounds and prices of what it finds."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from hwprofiles import Machine
from planner.bounds.cards import bounds_over_cards
from planner.bounds.disk import with_reads
from planner.bounds.draws import MeanBounds, mean_bounds, works_of
from planner.bounds.shadow import mean_shadow_prices
from planner.search.draw_counts import default_draws
from planner.search.inline import InlineExecutor
from planner.search.layouts import planned_cards
from planner.search.objectives import Goal
from planner.search.offers import chosen, offer_rows, offers_of
from planner.search.plan import Plan, Setting
from planner.search.resimulate import resimulated
from planner.search.search import Search, Unmet, binding_resource, is_fixed, search
from planner.search.steps import Progress
from planner.search.threads import NUM_THREADS
from sim.costs.host_room import DiskReads
from sim.costs.memory import Infeasible, MemoryRule, machine_bytes, usable_bytes, working_bytes
from sim.policies.problem import Problem
from sim.step.provenance import RunProvenance, provenance_of
from sim.step.simulate import Run, problem_of

PRICED_DRAWS = 4
"""Draws over which shadow prices are taken and checked."""

NO_BOUNDS: Mapping[str, Any] = {
    "static_bound_s": None,
    "clairvoyant_bound_s": None,
    "gap_to_static_bound_fraction": None,
    "gap_to_clairvoyant_bound_fraction": None,
    "shadow_prices": None,
    "resimulated_prices": None,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """A plan and the search it came from."""

    plan: Plan
    search: Search


def make_plan(
    setting: Setting,
    goal: Goal,
    version: str,
    on_progress: Progress | None = None,
    *,
    engine: str = "fast",
    has_bounds: bool = True,
) -> Planned | Unmet | Infeasible:
    """Search for the best plan in a setting, over all its offers.

    Raises InputError for what the setting cannot name. Ctrl-C raises SearchStopped; ``planned``
    makes a plan of its best so far for a caller that wants one.
    """
    offers = offers_of(setting)
    questions = [offer.question(engine) for offer in offers]
    # Where experts are alike, more draws only narrow the interval; else they also keep a placement
    # from owing its time to chance.
    is_open = setting.draws is None and all(
        question.routing.treats_experts_alike for question in questions
    )
    found = search(
        questions,
        goal,
        setting.draws or default_draws(questions[0]),
        on_progress,
        may_end_early=is_open,
    )
    return (
        planned(setting, goal, version, found, has_bounds=has_bounds)
        if isinstance(found, Search)
        else found
    )


def planned(
    setting: Setting, goal: Goal, version: str, found: Search, *, has_bounds: bool = True
) -> Planned:
    """The plan that a search in that setting found, with its bounds."""
    best = found.best
    offers = offers_of(setting)
    plan = Plan(
        setting=chosen(setting, offers, found.offer).model_copy(update={"draws": found.num_draws}),
        goal=goal,
        policy=best.scenario.policy,
        predicted=asdict(best.metrics) | {"timeline_digest": best.timeline.digest},
        bounds=bounds_of(found, _cards(setting)) if has_bounds else dict(NO_BOUNDS),
        binding_resource=binding_resource(best.metrics),
        provenance=stated_provenance(provenance_of(best)),
        version=version,
        is_stopped=found.is_stopped,
        offers=tuple(offer_rows(offers, found)),
    )
    return Planned(plan=plan, search=found)


def _cards(setting: Setting) -> tuple[Machine, ...]:
    """Return the cards that a plan may lay layers out over; none where the plan is for one GPU."""
    return planned_cards(setting.loaded_machine(), setting.gpus) if setting.gpus > 1 else ()


def bounds_of(found: Search, cards: Sequence[Machine] = ()) -> dict[str, Any]:
    """Return proven lower limits on the mean end over the search's draws, and the plan's gaps to
    them.

    The static bound is for placements that keep to the plan's budget of GPU memory; the clairvoyant
    one counts all memory. A plan whose residency changes has no gap to the static bound, and a
    lossy plan has no gap at all. Where layers may be laid out over ``cards``, both bounds are for
    such plans, and no prices are stated.
    """
    best = found.best
    problem = problem_of(best.scenario)
    if cards and not problem.feeding.is_pipelined:
        alike = best.scenario.routing.treats_experts_alike
        bounds = bounds_over_cards(
            problem, cards, found.draws, are_alike=alike, held_bytes=found.held_bytes
        )
        return _stated(best, _beside_reads(bounds, problem, found, cards))
    rule = memory_rule(problem_of(best.scenario), found.held_bytes)
    # The bounds go step by step, which leaves a core to spare.
    with ThreadPoolExecutor(1) if NUM_THREADS > 1 else InlineExecutor() as threads:
        larger = threads.submit(
            resimulated,
            found.asked.under(found.policy),
            found.metrics[:PRICED_DRAWS],
            found.draws,
        )
        bounds = mean_bounds(
            problem, found.draws, rule, are_alike=best.scenario.routing.treats_experts_alike
        )
        prices: dict[str, float] | None = _prices(problem, found, bounds, rule)
    if best.decisions.shelf is not None:
        bounds = _beside_reads(bounds, problem, found, (problem.machine,))
        prices = None  # those of the bound without reads
    more = {"shadow_prices": prices, "resimulated_prices": larger.result()}
    return _stated(best, bounds) | more


def _beside_reads(
    bounds: MeanBounds, problem: Problem, found: Search, cards: Sequence[Machine]
) -> MeanBounds:
    """Return the bounds, raised to those of reads from the disk where the plan reads."""
    if found.best.decisions.shelf is None or problem.feeding.is_pipelined:
        return bounds
    works = works_of(problem, found.draws)
    return with_reads(bounds, problem, found.draws, works, cards)


def _stated(best: Run, bounds: MeanBounds) -> dict[str, Any]:
    """Return the bounds as a plan states them, with the plan's gaps to them and without prices.

    Where host memory keeps what it reads, its content changes, so such a plan is not fixed.
    """
    policy = best.scenario.policy
    keeps_reads = best.scenario.disk_reads is DiskReads.CACHED
    is_kept = best.decisions.shelf is None or not keeps_reads
    return dict(NO_BOUNDS) | {
        "static_bound_s": bounds.static_s,
        "clairvoyant_bound_s": bounds.clairvoyant_s,
        "gap_to_static_bound_fraction": _gap(best, bounds.static_s)
        if is_fixed(policy) and is_kept
        else None,
        "gap_to_clairvoyant_bound_fraction": _gap(best, bounds.clairvoyant_s)
        if policy.is_lossless
        else None,
    }


def memory_rule(problem: Problem, held_bytes: int) -> MemoryRule:
    """Return the rule for the weights that a fixed placement may hold.

    Such a placement may hold all that the default budget leaves, or what the plan held, whichever
    is more.
    """
    model = problem.model
    batch = problem.batch
    kv_bytes = batch.num_sequences * sum(
        model.layer_kv_bytes(layer, batch.context_tokens) for layer in range(model.num_layers)
    )
    rule = MemoryRule()
    left = (
        usable_bytes(problem.machine, rule)
        - kv_bytes
        - working_bytes(model, batch, problem.feeding, rule)
    )
    # A named system may hold more than the default budget; the bound must cover it, too.
    share = max(left, held_bytes, 0) / machine_bytes(problem.machine)
    return MemoryRule(
        usable_fraction=min(1.0, share),
        has_context_apart=False,
        budgets_kv=False,
        budgets_activations=False,
    )


def _prices(
    problem: Problem, found: Search, bounds: MeanBounds, rule: MemoryRule
) -> dict[str, float]:
    return mean_shadow_prices(problem, found.draws[:PRICED_DRAWS], rule, bounds)


def _gap(best: Run, bound_s: float) -> float | None:
    """Return by which fraction the run ends after the bound; None for a bound that says nothing."""
    return best.metrics.end_to_end_s / bound_s - 1.0 if bound_s > 0 else None


def stated_provenance(provenance: RunProvenance) -> Mapping[str, Any]:
    """The provenance as a plan file has it."""
    weakest = provenance.weakest
    routing = provenance.routing
    return {
        "weakest": {"kind": weakest.kind.value, "source": weakest.source, "date": weakest.date},
        "routing": {"kind": routing.kind.value, "source": routing.source, "date": routing.date},
        "num_numbers_by_kind": _counts(provenance),
        "extrapolated": list(provenance.extrapolated),
    }


def _counts(provenance: RunProvenance) -> dict[str, int]:
    counts: dict[str, int] = {}
    for number in provenance.numbers:
        kind = number.provenance.kind.value
        counts[kind] = counts.get(kind, 0) + 1
    return counts
