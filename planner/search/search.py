"""The search for the best plan, by successive halving.

Every candidate and every named system is tried on the same draws of the routing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hwprofiles import InputError
from planner.search.hunt import Hunt
from planner.search.objectives import Goal
from planner.search.standing import goal_time, mean_of
from planner.search.steps import Progress, RuledOut
from planner.search.ties import half_width
from planner.search.trial import Trial
from sim.costs.memory import Infeasible, Residency
from sim.policies.placement.explicit import ExplicitPlacement
from sim.policies.placement.fitting import RankedPlacement
from sim.policies.policy import Policy
from sim.step.draws import has_draws
from sim.step.metrics import Metrics
from sim.step.sampled import SAMPLED_TOKENS
from sim.step.simulate import Drawn, Question, Run, check_question


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRival:
    """What a named system would reach on the same work: means over its ``num_draws`` first draws,
    or why it has none.

    ``plan_metrics`` are the plan's over the same draws. Where a long run was not made whole,
    ``num_sampled_tokens`` says from how many output tokens its figures are foretold.
    """

    policy: str
    outcome: Metrics | Infeasible
    plan_metrics: Metrics | None = None
    num_draws: int = 0
    num_sampled_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """The best policy that was not chosen.

    ``worse_fraction`` says by how much the policy is worse than the plan. ``half_width_fraction``
    is half the 95 % confidence interval of that fraction (None: one draw). ``offer`` is the number
    of the policy's offer, 0 where there is no choice.
    """

    policy: str
    offer: int = 0
    worse_fraction: float
    half_width_fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferBest:
    """The best candidate of an offer, or why nothing of the offer fits.

    Its figures are means over the first ``num_draws`` draws. ``plan_metrics`` are those of the plan
    over the same draws.
    """

    outcome: Metrics | Infeasible
    policy: str | None = None
    plan_metrics: Metrics | None = None
    num_draws: int = 0
    worse_fraction: float | None = None
    half_width_fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The best plan found, and what it was compared with.

    ``best`` is the first draw's run with the placement spelt out, its metrics means over
    ``num_draws``. ``policy`` is as it was tried, under the question ``asked``; ``metrics`` are its
    own on every draw, in order. ``half_width_s`` is half the 95 % confidence interval of its mean
    end (None: one draw). ``rivals`` stand best first, then those that do not fit. ``draws`` are
    those of the plan's way of feeding. ``held_bytes`` is the most of weights that the best had on
    the GPU. ``offer`` is the number of the question chosen, and ``offers`` are the best of each.
    ``ruled_out`` counts candidates by what ruled them out.
    """

    best: Run
    policy: Policy
    asked: Question
    metrics: tuple[Metrics, ...] = field(repr=False)
    num_draws: int
    half_width_s: float | None
    runner_up: RunnerUp | None
    rivals: tuple[NamedRival, ...]
    num_tried: int
    is_stopped: bool
    draws: tuple[Drawn, ...] = field(repr=False)
    held_bytes: int = 0
    offer: int = 0
    offers: tuple[OfferBest, ...] = ()
    ruled_out: RuledOut = field(default_factory=RuledOut)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """Something fits, but nothing keeps to the constraint; ``best_ttft_s`` is the least that was
    reached, by ``policy``.
    """

    max_ttft_s: float
    best_ttft_s: float
    policy: str


class SearchStopped(KeyboardInterrupt):
    """The interruption by Ctrl-C of a search in which a candidate had run whole.

    SearchStopped is an interruption like any other, unless the caller catches it and asks for the
    best so far.
    """

    def __init__(self, best_so_far: "Callable[[], Search | Unmet]") -> None:
        """``best_so_far`` returns the best of what was tried, marked as stopped."""
        super().__init__()
        self.best_so_far = best_so_far


def search(
    offered: Question | Sequence[Question],
    goal: Goal,
    num_draws: int,
    on_progress: Progress | None = None,
    *,
    has_closed_form: bool = True,
    has_samples: bool = True,
    may_end_early: bool = False,
) -> Search | Unmet | Infeasible:
    """Look for the best policy by the mean over ``num_draws`` draws of the routing.

    Several questions are offers, of which the plan may take any. Offers differ in machine and in
    how weights are stored, and share the search. A closed form rules candidates out (unless
    ``has_closed_form`` is false), then short runs do. The best of them and all named systems are
    run whole on the first draws. A long run is made only where its first tokens foretell that it
    comes close (unless ``has_samples`` is false). Policies that are close run on ever more draws,
    most of them dropping out each time.

    No named system that may be a plan is better than the plan on the draws that both have met. What
    the draws do not tell apart (95 % confidence) goes to the earlier: to the offer named first,
    then to the simpler candidate. If ``may_end_early``, fewer draws will do, where the best is
    known to within 0.15 % (95 % confidence).

    Ctrl-C raises SearchStopped, which has the best so far; before any candidate has run whole, it
    raises KeyboardInterrupt. Infeasible, with the smallest shortage, is returned when nothing fits.
    Raises InputError for a goal that cannot be planned for.
    """
    questions = [offered] if isinstance(offered, Question) else list(offered)
    for question in questions:
        check_question(question)
        split = question.split
        if split is not None and split.layers is None and split.num_cards > 1:
            raise InputError(
                "plans and their bounds lay whole layers out over several GPUs, "
                f"got `split_mode` {split.mode}; simulate and compare take it"
            )
    goal.check()
    # A recorded trace is replayed as it is, so further draws would repeat the first.
    number = num_draws if has_draws(questions[0]) else 1
    hunt = Hunt(
        questions,
        goal,
        number,
        on_progress,
        has_closed_form=has_closed_form,
        has_samples=has_samples,
        may_end_early=may_end_early,
    )
    try:
        hunt.go()
    except KeyboardInterrupt:
        # Without a whole run there is no best so far to offer.
        if not hunt.standing():
            raise
        raise SearchStopped(lambda: _best_so_far(hunt, goal)) from None
    return _outcome(hunt, goal)


def _outcome(hunt: Hunt, goal: Goal) -> Search | Unmet | Infeasible:
    """Return the result of a search that has ended."""
    if not hunt.standing():
        return _nearest(hunt.tried)
    return _best(hunt, goal)


def _best_so_far(hunt: Hunt, goal: Goal) -> Search | Unmet:
    found = _best(hunt, goal)
    return replace(found, is_stopped=True) if isinstance(found, Search) else found


def _best(hunt: Hunt, goal: Goal) -> Search | Unmet:
    """Return the best of what has run, or Unmet where it misses the constraint."""
    best = hunt.leader()
    # The leader misses by least, so nothing that has run keeps to the constraint.
    if goal.excess_s(best.mean) > 0:
        assert goal.max_ttft_s is not None
        return Unmet(
            max_ttft_s=goal.max_ttft_s, best_ttft_s=best.mean.ttft_s, policy=best.policy.name
        )
    # Rivals may have met fewer draws; each is compared on those that both have met.
    number = len(best.metrics)
    # Systems of other offers ran on other machines or weights, so they are no rivals here.
    own = [trial for trial in hunt.tried if trial.offer == best.offer]
    return Search(
        best=_spelt_out(hunt, best),
        policy=best.policy,
        asked=hunt.trials.questions[best.offer],
        metrics=tuple(best.metrics),
        num_draws=number,
        half_width_s=half_width([metrics.end_to_end_s for metrics in best.metrics]),
        runner_up=_runner_up(hunt, best, goal),
        rivals=_rivals([trial for trial in own if trial.is_named], best, goal),
        num_tried=len(hunt.tried),
        is_stopped=False,
        draws=tuple(hunt.trials.drawn(best.policy.feeding, draw) for draw in range(number)),
        held_bytes=best.held_bytes,
        offer=best.offer,
        offers=tuple(
            _offer_best(hunt, offer, best, goal) for offer in range(len(hunt.trials.questions))
        ),
        ruled_out=hunt.ruled_out,
    )


def _nearest(tried: Sequence[Trial]) -> Infeasible:
    """Return the shortage of the trial that lacks the fewest bytes."""
    misfits = [
        trial.residency
        for trial in tried
        if isinstance(trial.residency, Infeasible) and trial.residency.missing_bytes
    ]
    return min(misfits, key=lambda shortage: shortage.missing_bytes)


def _runner_up(hunt: Hunt, best: Trial, goal: Goal) -> RunnerUp | None:
    """The best of the others, candidates and named systems, compared draw by draw."""
    second = hunt.second()
    worse = [] if second is None else _worse_fractions(second, best, goal)
    if second is None or not worse:
        return None
    return RunnerUp(
        policy=second.policy.name,
        worse_fraction=float(np.mean(worse)),
        half_width_fraction=half_width(worse),
        offer=second.offer,
    )


def _worse_fractions(trial: Trial, best: Trial, goal: Goal) -> list[float]:
    """Return by which fraction a trial is worse than the best, on each draw that both have met."""
    pairs = [
        (goal_time(goal, own), goal_time(goal, its))
        for own, its in zip(trial.metrics, best.metrics, strict=False)
    ]
    return [own / its - 1 for own, its in pairs if its > 0]


def _offer_best(hunt: Hunt, offer: int, best: Trial, goal: Goal) -> OfferBest:
    trial = best if offer == best.offer else hunt.best_of(offer)
    if trial is None:
        own = [each for each in hunt.tried if each.offer == offer]
        misfits = [
            each
            for each in own
            if isinstance(each.residency, Infeasible) and each.residency.missing_bytes
        ]
        found = (
            _nearest(misfits)
            if misfits
            else Infeasible(reason="nothing was tried", missing_bytes=0)
        )
        return OfferBest(outcome=found)
    number = min(len(trial.metrics), len(best.metrics))
    worse = _worse_fractions(trial, best, goal)
    return OfferBest(
        outcome=mean_of(trial, number),
        policy=trial.policy.name,
        plan_metrics=mean_of(best, number),
        num_draws=number,
        worse_fraction=float(np.mean(worse)) if worse else None,
        half_width_fraction=half_width(worse),
    )


def _rivals(named: Sequence[Trial], best: Trial, goal: Goal) -> tuple[NamedRival, ...]:
    rivals = []
    for trial in named:
        number = min(len(trial.metrics), len(best.metrics))
        if isinstance(trial.residency, Infeasible):
            # Infinity puts what does not fit behind all others.
            rivals.append(
                ((np.inf, 0.0), NamedRival(policy=trial.policy.name, outcome=trial.residency))
            )
            continue
        found = mean_of(trial, number) if number else trial.sample
        if found is not None:
            rival = NamedRival(
                policy=trial.policy.name,
                outcome=found,
                plan_metrics=mean_of(best, max(1, number)),
                num_draws=max(1, number),
                num_sampled_tokens=None if number else SAMPLED_TOKENS,
            )
            rivals.append(((0.0, goal.score(found)), rival))
    return tuple(rival for _, rival in sorted(rivals, key=lambda entry: entry[0]))


def _spelt_out(hunt: Hunt, best: Trial) -> Run:
    run = replace(hunt.trials.first_run(best), metrics=best.mean)
    return replace(
        run, scenario=replace(run.scenario, policy=planned_policy(run), slots_per_layer=None)
    )


def is_fixed(policy: Policy) -> bool:
    """Whether the static bound holds for the policy.

    The policy's residency never changes, its layers do not overlap, and every token is as without
    it.
    """
    return policy.keeps_residency and not policy.feeding.is_pipelined and policy.is_lossless


def planned_policy(run: Run) -> Policy:
    """Return the policy of a run with its placement spelt out expert by expert.

    The policy then repeats without knowing the popularity.
    """
    policy = run.scenario.policy
    if not isinstance(policy.placement, RankedPlacement):
        return policy
    placement = ExplicitPlacement(
        experts=experts_by_layer(run.residency), memory=policy.placement.memory
    )
    return replace(policy, placement=placement)


def experts_by_layer(residency: Residency) -> tuple[tuple[int, ...], ...]:
    """Resident experts of every layer, ascending."""
    return tuple(tuple(int(expert) for expert in np.flatnonzero(row)) for row in residency.experts)


def binding_resource(metrics: Metrics) -> str:
    """The resource that is busy for the largest part of the run."""
    return max(metrics.busy_s, key=lambda name: metrics.busy_s[name])
