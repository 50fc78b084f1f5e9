"""Looking for the best plan: every candidate and every named system, on the same draws of the routing, by successive halving."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np

from hwprofiles import InputError
from planner.candidates import candidates, named_systems
from planner.objectives import Goal
from planner.trials import SHORT_STEPS, Trial, Trials
from sim.draws import has_draws, mean_metrics
from sim.memory import Infeasible, Residency
from sim.metrics import Metrics
from sim.policies.placement.explicit import ExplicitPlacement
from sim.policies.placement.fitting import RankedPlacement
from sim.policies.policy import Policy
from sim.simulate import Drawn, Run, Scenario, check

DRAWN_TOKENS, FEWEST_DRAWS, MOST_DRAWS = 8192, 4, 32
"""Draws are as many as have that many tokens together, within these limits: the more tokens, the less a placement owes to chance."""

FIRST_TOKENS = 256
"""Runs of fewer tokens are met on more than one draw from the start."""

SCREENED_SHARE, SCREENED_LEAST = 0.2, 6
"""Of the candidates' short runs, the best fifth (at least six) go on to whole runs."""

CLOSE, MOST_CLOSE = 0.05, 8
"""Whole runs that are at first slower than the best by more are out; of the others so many go on."""

KEPT_OF, DRAWS_GROW = 3, 4
"""From round to round one of so many goes on, on so many times the draws."""

STANDARD_ERRORS = 1.96
"""Half width of a 95 % confidence interval of a mean over many draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What a named system would reach on the same work: means over its ``num_draws`` first draws, or why it has none.

    ``plan_metrics`` are the plan's over the same draws; ``digest`` is that of the first draw's timeline.
    """

    policy: str
    outcome: Metrics | Infeasible
    plan_metrics: Metrics | None = None
    num_draws: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """The best of what was not chosen: by which fraction it is worse, with half its 95 % confidence interval (None: one draw)."""

    policy: str
    worse_fraction: float
    half_width_fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The best found, with its placement spelt out: the first draw's run, its metrics means over ``num_draws``; ``policy`` as it was tried.

    ``half_width_s`` is of the 95 % confidence interval of its mean end (None: one draw); ``rivals`` stand best first, then those that
    do not fit. ``draws`` are those of the plan's way of feeding; ``held_bytes`` the most of weights that the best had on the GPU.
    """

    best: Run
    policy: Policy
    num_draws: int
    half_width_s: float | None
    runner_up: RunnerUp | None
    rivals: tuple[Rival, ...]
    num_tried: int
    is_stopped: bool
    draws: tuple[Drawn, ...] = field(repr=False)
    held_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """Something fits, but nothing keeps to the constraint; ``best_ttft_s`` is the least that was reached, by ``policy``."""

    max_ttft_s: float
    best_ttft_s: float
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a search is: what it does, how much of that is done, and the best so far."""

    doing: str
    num_done: int
    num_in_all: int
    policy: str | None
    metrics: Metrics | None


Progress = Callable[[Step], None]


def search(scenario: Scenario, goal: Goal, num_draws: int, on_progress: Progress | None = None) -> Search | Unmet | Infeasible:
    """Look for the best policy for the scenario (its own is ignored) by the mean over that many draws of the routing.

    Candidates are screened by short runs; the best of them and all named systems are run whole on the first draw; those that
    are close on ever more draws, most of them dropping out each time. No named system that may be a plan is better than it on the draws
    that both have met. Ties go to the earlier. Ctrl-C ends it with the best so far.

    Infeasible when nothing at all fits: then with the smallest shortage. Raises InputError for a goal that cannot be planned for.
    """
    check(scenario)
    if scenario.num_gpus > 1:
        raise InputError(f"plans and their bounds are for one GPU, got --gpus {scenario.num_gpus}; simulate and compare take several")
    goal.check()
    hunt = _Hunt(scenario, goal, num_draws if has_draws(scenario) else 1, on_progress)
    is_stopped = False
    try:
        hunt.go()
    except KeyboardInterrupt:
        if not hunt.standing():
            raise
        is_stopped = True
    return hunt.outcome(is_stopped=is_stopped)


def default_draws(scenario: Scenario) -> int:
    """How many draws a plan is averaged over, where nobody says."""
    batch = scenario.batch
    tokens = batch.num_sequences * batch.context_tokens
    return max(FEWEST_DRAWS, min(MOST_DRAWS, -(-DRAWN_TOKENS // tokens))) if has_draws(scenario) else 1


def first_draws(scenario: Scenario, num_draws: int) -> int:
    """Draws that every whole run is made on: one, where it has tokens enough not to owe its time to chance."""
    tokens = scenario.batch.num_sequences * scenario.batch.context_tokens
    return min(num_draws, max(1, min(FEWEST_DRAWS, FIRST_TOKENS // tokens)))


class _Hunt:
    """One search, which may be stopped at any time."""

    def __init__(self, scenario: Scenario, goal: Goal, num_draws: int, on_progress: Progress | None) -> None:
        self._scenario, self._goal, self._num_draws, self._on_progress = scenario, goal, num_draws, on_progress
        self._trials = Trials(scenario)
        self.tried: list[Trial] = []

    def go(self) -> None:
        """Screen, run whole, halve."""
        first = first_draws(self._scenario, self._num_draws)
        kept = self._screen()
        named = [self._trials.start(policy, is_named=True) for policy in named_systems()]
        self.tried.extend(named)
        self._meet(kept, first, "candidates")
        self._meet(named, first, "named systems")
        self._halve()

    def standing(self) -> list[Trial]:
        """All that may be the plan and has run."""
        return [trial for trial in self.tried if trial.metrics and is_allowed(self._scenario, trial, self._goal)]

    def outcome(self, *, is_stopped: bool) -> Search | Unmet | Infeasible:
        """What was found."""
        if not self.standing():
            misfits = [trial.residency for trial in self.tried if isinstance(trial.residency, Infeasible) and trial.residency.missing_bytes]
            return min(misfits, key=lambda shortage: shortage.missing_bytes)
        best = self._leader()
        if self._goal.excess_s(best.mean) > 0:
            assert self._goal.max_ttft_s is not None
            return Unmet(max_ttft_s=self._goal.max_ttft_s, best_ttft_s=best.mean.ttft_s, policy=best.policy.name)
        number = len(best.metrics)
        return Search(
            best=self._spelt_out(best),
            policy=best.policy,
            num_draws=number,
            half_width_s=half_width([metrics.end_to_end_s for metrics in best.metrics]),
            runner_up=self._runner_up(best),
            rivals=self._rivals(best),
            num_tried=len(self.tried),
            is_stopped=is_stopped,
            draws=tuple(self._trials.drawn(best.policy.feeding, draw) for draw in range(number)),
            held_bytes=best.held_bytes,
        )

    def _screen(self) -> list[Trial]:
        """The candidates whose short runs promise most; each fits."""
        ranked, policies = [], list(candidates(self._scenario.batch))
        for number, policy in enumerate(policies):
            trial = self._trials.start(policy, is_named=False)
            self.tried.append(trial)
            if isinstance(trial.residency, Residency) and is_allowed(self._scenario, trial, self._goal):
                ranked.append((self._goal.rank(self._trials.screened(trial)), number, trial))
            self._tell(f"screening by {SHORT_STEPS} tokens", number + 1, len(policies))
        ranked.sort(key=lambda entry: entry[:2])
        return [trial for _, _, trial in ranked[: max(SCREENED_LEAST, round(SCREENED_SHARE * len(ranked)))]]

    def _halve(self) -> None:
        """From few to all draws; then whatever is left that would beat the best on the draws it has met, is met on all."""
        standing = sorted(self.standing(), key=self._rank)
        close = [trial for trial in standing if self._is_close(trial, standing[0])][:MOST_CLOSE]
        number = FEWEST_DRAWS
        while close:
            number = min(number, self._num_draws)
            self._meet(close, number, f"{number} draws")
            close = sorted(close, key=self._rank)
            if number == self._num_draws:
                break
            close = close[: max(2, -(-len(close) // KEPT_OF))]
            number *= DRAWS_GROW
        while challengers := [trial for trial in self.standing() if self._beats(trial, self._leader())]:
            self._meet(challengers, self._num_draws, "challengers")

    def _meet(self, trials: Sequence[Trial], num_draws: int, doing: str) -> None:
        """Run the trials on the draws up to that number that they have not met."""
        for number, _ in enumerate(self._trials.meet(trials, num_draws)):
            self._tell(doing, number + 1, len(trials))

    def _rank(self, trial: Trial) -> tuple[float, float]:
        return self._goal.rank(trial.mean)

    def _is_close(self, trial: Trial, best: Trial) -> bool:
        """Whether the trial, on its draws, is not worse than the best by more than what draws may change."""
        (excess_s, score), (least_s, goal) = self._rank(trial), self._rank(best)
        ttft_s = CLOSE * best.mean.ttft_s
        return excess_s <= least_s + ttft_s and (least_s > 0 or score <= goal + CLOSE * abs(goal))

    def _beats(self, trial: Trial, best: Trial) -> bool:
        """Whether a trial of fewer draws is better than the best on those."""
        number = len(trial.metrics)
        return number < len(best.metrics) and self._goal.rank(trial.mean) < self._goal.rank(mean_of(best, number))

    def _leader(self) -> Trial:
        """The best of those that have met most draws; the earlier of equals, candidates before named systems."""
        standing = sorted(self.standing(), key=lambda trial: trial.is_named)
        most = max(len(trial.metrics) for trial in standing)
        return min((trial for trial in standing if len(trial.metrics) == most), key=self._rank)

    def _runner_up(self, best: Trial) -> RunnerUp | None:
        """The best of the others, candidates and named systems, compared draw by draw."""
        others = [trial for trial in self.standing() if trial is not best and trial.digest != best.digest]
        if not others:
            return None
        most = max(len(trial.metrics) for trial in others)
        second = min((trial for trial in others if len(trial.metrics) == most), key=self._rank)
        pairs = list(zip(second.metrics, best.metrics, strict=False))
        worse = [_time(self._goal, own) / _time(self._goal, goal) - 1 for own, goal in pairs if _time(self._goal, goal) > 0]
        if not worse:
            return None
        return RunnerUp(policy=second.policy.name, worse_fraction=float(np.mean(worse)), half_width_fraction=half_width(worse))

    def _rivals(self, best: Trial) -> tuple[Rival, ...]:
        rivals = []
        for trial in (trial for trial in self.tried if trial.is_named):
            number = min(len(trial.metrics), len(best.metrics))
            if isinstance(trial.residency, Infeasible):
                rivals.append(((np.inf, 0.0), Rival(policy=trial.policy.name, outcome=trial.residency)))
            elif number:
                mean = mean_of(trial, number)
                rival = Rival(
                    policy=trial.policy.name, outcome=mean, plan_metrics=mean_of(best, number), num_draws=number, digest=trial.digest
                )
                rivals.append(((0.0, self._goal.score(mean)), rival))
        return tuple(rival for _, rival in sorted(rivals, key=lambda entry: entry[0]))

    def _spelt_out(self, best: Trial) -> Run:
        run = replace(self._trials.whole_run(best, 0), metrics=best.mean)
        return replace(run, scenario=replace(run.scenario, policy=planned_policy(run), slots_per_layer=None))

    def _tell(self, doing: str, num_done: int, num_in_all: int) -> None:
        if self._on_progress:
            best = self._leader() if self.standing() else None
            step = Step(
                doing=doing,
                num_done=num_done,
                num_in_all=num_in_all,
                policy=best.policy.name if best else None,
                metrics=best.mean if best else None,
            )
            self._on_progress(step)


def mean_of(trial: Trial, num_draws: int) -> Metrics:
    """The means over a trial's first draws."""
    return mean_metrics(trial.metrics[:num_draws])


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % confidence interval of the mean of independent values; None for a single one."""
    return STANDARD_ERRORS * float(np.std(values, ddof=1)) / sqrt(len(values)) if len(values) > 1 else None


def _time(goal: Goal, metrics: Metrics) -> float:
    """What is minimised, as a time: of a rate, its inverse."""
    score = goal.score(metrics)
    return -1 / score if score < 0 else score


def is_allowed(scenario: Scenario, trial: Trial, goal: Goal) -> bool:
    """Whether the trial may become the plan: no token changed (unless that is allowed), and as many experts a layer as asked for."""
    policy = trial.policy
    if policy.knows_future or (goal.is_lossless and not policy.is_lossless) or not isinstance(trial.residency, Residency):
        return False
    held = trial.residency.experts.sum(axis=1)[list(scenario.model.moe_layers)]
    return scenario.slots_per_layer is None or bool((held == scenario.slots_per_layer).all())


def is_fixed(policy: Policy) -> bool:
    """Whether the static bound holds for the policy: residency never changes, layers do not overlap, every token is as without it."""
    return policy.keeps_residency and not policy.feeding.is_pipelined and policy.is_lossless


def planned_policy(run: Run) -> Policy:
    """The policy of a run with its placement spelt out expert by expert, so that it repeats without knowing the popularity."""
    policy = run.scenario.policy
    if not isinstance(policy.placement, RankedPlacement):
        return policy
    placement = ExplicitPlacement(experts=experts_by_layer(run.residency), memory=policy.placement.memory)
    return replace(policy, placement=placement)


def experts_by_layer(residency: Residency) -> tuple[tuple[int, ...], ...]:
    """Resident experts of every layer, ascending."""
    return tuple(tuple(int(expert) for expert in np.flatnonzero(row)) for row in residency.experts)


def binding_resource(metrics: Metrics) -> str:
    """The resource that is busy for the largest part of the run."""
    return max(metrics.busy_s, key=lambda name: metrics.busy_s[name])
