"""Successive halving: many candidates on few draws, few on many; what is ruled out on the way, and
by what.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import mean

from planner.search.candidates import candidates, named_systems
from planner.search.floors import Floors
from planner.search.objectives import Goal
from planner.search.standing import as_time, goal_time, is_allowed, mean_of, overflows
from planner.search.ties import half_width, is_tied
from planner.search.trials import SHORT_STEPS, Trial, Trials, is_feasible
from sim.costs.memory import Residency
from sim.step.metrics import Metrics
from sim.step.simulate import Question, fits_cards

FEWEST_DRAWS = 4
"""Draws of the first round; where nobody says how many draws there are, no fewer."""

FIRST_TOKENS = 256
"""Runs of fewer tokens are met on more than one draw from the start."""

SCREENED_SHARE, SCREENED_LEAST, SCREENED_OTHERS, SCREENED_LAG = 0.2, 6, 2, 0.5
"""Candidates go on to whole runs if their short runs are among the best fifth (at least six) and at
most half slower than the best.

The best two of every offer go on too.
"""

CLOSE, MOST_CLOSE = 0.05, 8
"""After the first draw, whole runs that are more than 5 % slower than the best are dropped; at most
8 go on.
"""

KEPT_OF, DRAWS_GROW = 3, 4
"""One of ``KEPT_OF`` candidates goes on to the next round, which has ``DRAWS_GROW`` times the
draws.
"""

PRECISE = 0.0015
"""Where the number of draws is left open, a round whose best is known to within this fraction (95 %
confidence) is the last.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a search is: what it does, how much of that is done, and the best so far."""

    doing: str
    num_done: int
    num_in_all: int
    policy: str | None
    metrics: Metrics | None


Progress = Callable[[Step], None]


@dataclass(slots=True, kw_only=True)
class RuledOut:
    """Candidates by what ruled them out: they do not fit, are not what was asked for, cannot be
    fast enough, or were not in a run.

    ``closed_form``: a time that they cannot beat is more than 5 % longer than another's run.
    ``short_runs``: others did better in those. ``draws``: others did better over whole runs, on one
    draw or more. The rest met every draw.
    """

    memory: int = 0
    constraints: int = 0
    closed_form: int = 0
    short_runs: int = 0
    draws: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self))


class Hunt:
    """One search over offers, which may be stopped at any time."""

    def __init__(
        self,
        questions: Sequence[Question],
        goal: Goal,
        num_draws: int,
        on_progress: Progress | None,
        *,
        has_closed_form: bool = True,
        may_end_early: bool = False,
    ) -> None:
        """Nothing tried yet; ``num_draws`` at most, where it may end early."""
        self._may_end_early = may_end_early
        self._goal = goal
        self._num_draws = num_draws
        self._on_progress = on_progress
        self._has_closed_form = has_closed_form
        self.trials = Trials(questions)
        self.tried: list[Trial] = []
        self.ruled_out = RuledOut()
        self._chosen: Trial | None = None
        self._first = first_draws(questions[0], num_draws)

    def go(self) -> None:
        """Rule out in closed form and by short runs, run whole, halve, decide ties."""
        self._meet(self._screened(self._placed()), self._first, "candidates")
        self._meet_named()
        self._halve()
        # A named system may bring another offer to the top, whose named systems then have to run,
        # too.
        while self._meet_named():
            self._challenge()
        self._meet_others()
        self.ruled_out.draws = sum(
            bool(trial.metrics) and len(trial.metrics) < self._num_draws
            for trial in self.tried
            if not trial.is_named
        )
        if self.standing():
            self._chosen = self._decided()
            self._tell("ties", 1, 1)

    def standing(self, offer: int | None = None) -> list[Trial]:
        """All that may be the plan and has run; candidates before named systems, else in the order
        of trying.
        """
        found = [
            trial
            for trial in self.tried
            if trial.metrics
            and offer in (None, trial.offer)
            and self._is_allowed(trial)
            and not overflows(trial)
        ]
        return sorted(found, key=lambda trial: trial.is_named)

    def leader(self) -> Trial:
        """What was decided for; until then the best by its mean of those that have met most draws,
        the earlier of equals.
        """
        return self._chosen or self._foremost(self.standing())

    def best_of(self, offer: int) -> Trial | None:
        """The best of an offer."""
        found = self.standing(offer)
        return self._foremost(found) if found else None

    def second(self) -> Trial | None:
        """The best that is not the leader and does not do the same."""
        best = self.leader()
        others = [trial for trial in self.standing() if trial is not best]
        # As ``_foremost`` ranks them: only those before the second are looked at closely.
        others.sort(key=lambda trial: (-len(trial.metrics), self._rank(trial)))
        return next((trial for trial in others if not self.trials.are_alike(best, trial)), None)

    def _foremost(self, trials: Sequence[Trial]) -> Trial:
        most = max(len(trial.metrics) for trial in trials)
        return min((trial for trial in trials if len(trial.metrics) == most), key=self._rank)

    def _is_allowed(self, trial: Trial) -> bool:
        return is_allowed(self.trials.questions[trial.offer], trial, self._goal)

    def _placed(self) -> list[Trial]:
        """The candidates that fit and are what was asked for."""
        found = []
        for offer, question in enumerate(self.trials.questions):
            for policy in candidates(question):
                if not fits_cards(question.under(policy)):
                    continue
                trial = self.trials.start(policy, is_named=False, offer=offer)
                self.tried.append(trial)
                if not is_feasible(trial):
                    self.ruled_out.memory += 1
                elif not self._is_allowed(trial):
                    self.ruled_out.constraints += 1
                else:
                    found.append(trial)
        return found

    def _screened(self, placed: list[Trial]) -> list[Trial]:
        """Return the candidates that no closed form rules out and whose short runs promise most;
        those already run whole are among them.
        """
        left = self._possible(placed) if self._has_closed_form else placed
        ranked = []
        self.ruled_out.closed_form = len(placed) - len(left)
        for number, (trial, metrics) in enumerate(
            zip(left, self.trials.screened(left), strict=True)
        ):
            ranked.append((self._goal.rank(metrics), number, trial))
            self._tell(f"screening by {SHORT_STEPS} tokens", number + 1, len(left))
        ranked.sort(key=lambda entry: entry[:2])
        order = [trial for _, _, trial in ranked]
        most = max(
            (
                sum(trial.offer == offer for trial in placed)
                for offer in range(len(self.trials.questions))
            ),
            default=0,
        )
        kept = [
            trial
            for (_, score), _, trial in ranked[: max(SCREENED_LEAST, round(SCREENED_SHARE * most))]
            if as_time(score) <= (1 + SCREENED_LAG) * as_time(ranked[0][0][1])
        ]
        # Offers are compared at the end, which needs something of each.
        if len(self.trials.questions) > 1:
            for offer in range(len(self.trials.questions)):
                kept += [trial for trial in order if trial.offer == offer][:SCREENED_OTHERS]
        kept = [trial for trial in order if trial.metrics or trial in kept]
        self.ruled_out.short_runs = len(order) - len(kept)
        return kept

    def _possible(self, placed: list[Trial]) -> list[Trial]:
        """Return the candidates that may come within 5 % of the run of the one with the lowest
        floor: whole runs that lag by no more go on.

        Each offer is looked at by itself, so that something of each is left.
        """
        left = []
        for offer in range(len(self.trials.questions)):
            own = [trial for trial in placed if trial.offer == offer]
            floors = []
            known = Floors()
            for number, trial in enumerate(own):
                draws = [
                    self.trials.drawn(trial.policy.feeding, draw) for draw in range(self._first)
                ]
                assert isinstance(trial.residency, Residency)
                floors.append(known.floor(trial.policy, trial.problem, trial.residency, draws))
                self._tell("closed form", number + 1, len(own))
            bounded = [
                (trial, floor)
                for trial, floor in zip(own, floors, strict=True)
                if floor is not None
            ]
            if not bounded:
                left += own
                continue
            batch = self.trials.questions[offer].batch
            # What promises most is run, since only a real time rules others out.
            first = min(bounded, key=lambda pair: self._goal.rank(pair[1].metrics(batch)))[0]
            self._meet([first], self._first, "closed form")
            for trial, floor in zip(own, floors, strict=True):
                if (
                    floor is None
                    or trial is first
                    or self._is_close(self._goal.rank(floor.metrics(batch)), first)
                ):
                    left.append(trial)
        return left

    def _meet_named(self) -> bool:
        """Run the named systems in the leader's offer, and in those where no candidate fits;
        whether there were any to run.
        """
        standing = self.standing()
        wanted = {
            offer
            for offer in range(len(self.trials.questions))
            if not any(trial.offer == offer for trial in standing)
        }
        if standing:
            wanted.add(self.leader().offer)
        # They have run there already.
        wanted -= {trial.offer for trial in self.tried if trial.is_named}
        named = [
            self.trials.start(policy, is_named=True, offer=offer)
            for offer in sorted(wanted)
            for policy in named_systems()
        ]
        self.tried.extend(named)
        self._meet(named, self._first, "named systems")
        return bool(named)

    def _meet_others(self) -> None:
        """Let the best of each offer that did not win meet a few draws, to say what it would give."""
        if self.standing():
            found = [
                self.best_of(offer)
                for offer in range(len(self.trials.questions))
                if offer != self.leader().offer
            ]
            best = [trial for trial in found if trial is not None]
            self._meet(
                [trial for trial in best if len(trial.metrics) < FEWEST_DRAWS],
                min(FEWEST_DRAWS, self._num_draws),
                "other offers",
            )

    def _halve(self) -> None:
        """Go from few to all draws; then run on all draws whatever would beat the best on the draws
        that it has been run on.
        """
        standing = sorted(self.standing(), key=self._rank)
        close = [trial for trial in standing if self._is_close(self._rank(trial), standing[0])][
            :MOST_CLOSE
        ]
        number = FEWEST_DRAWS
        while close:
            number = min(number, self._num_draws)
            self._meet(close, number, f"{number} draws")
            close = sorted(close, key=self._rank)
            if number == self._num_draws or (self._may_end_early and self._is_precise(close[0])):
                # Challengers then meet no more draws than the best has met.
                self._num_draws = number
                break
            # Two at least, so that the last draws still decide something.
            close = close[: max(2, -(-len(close) // KEPT_OF))]
            number *= DRAWS_GROW
        self._challenge()

    def _is_precise(self, trial: Trial) -> bool:
        """Whether the draws that it has met say well enough how long it takes."""
        times = [goal_time(self._goal, metrics) for metrics in trial.metrics]
        width = half_width(times)
        return width is not None and width <= PRECISE * mean(times)

    def _challenge(self) -> None:
        while self.standing() and (
            found := [trial for trial in self.standing() if self._beats(trial, self.leader())]
        ):
            self._meet(found, self._num_draws, "challengers")

    def _decided(self) -> Trial:
        """The earliest of those that the draws do not tell from the best and that no named system
        outdoes on common draws.
        """
        best = self.leader()
        for trial in self.standing():
            if (
                len(trial.metrics) == len(best.metrics)
                and self._is_tied(trial, best)
                and not self._is_outdone(trial)
            ):
                return trial
        return best

    def _is_tied(self, trial: Trial, best: Trial) -> bool:
        own, goal = (
            [goal_time(self._goal, metrics) for metrics in each.metrics] for each in (trial, best)
        )
        return trial is best or (self._rank(trial)[0] <= self._rank(best)[0] and is_tied(own, goal))

    def _is_outdone(self, trial: Trial) -> bool:
        return any(
            self._beats(other, trial) or self._rank(other) < self._rank(trial)
            for other in self.standing()
            if other.is_named
        )

    def _meet(self, trials: Sequence[Trial], num_draws: int, doing: str) -> None:
        """Run the trials on the draws up to that number that they have not met."""
        for number, _ in enumerate(self.trials.meet(trials, num_draws)):
            self._tell(doing, number + 1, len(trials))

    def _rank(self, trial: Trial) -> tuple[float, float]:
        return self._goal.rank(trial.mean)

    def _is_close(self, rank: tuple[float, float], best: Trial) -> bool:
        """Whether what ranks so is not worse than the best, on its draws, by more than what draws
        may change.
        """
        excess_s, score = rank
        least_s, goal = self._rank(best)
        ttft_s = CLOSE * max(best.mean.ttft_s, self._goal.max_ttft_s or 0.0)
        return excess_s <= least_s + ttft_s and (least_s > 0 or score <= goal + CLOSE * abs(goal))

    def _beats(self, trial: Trial, best: Trial) -> bool:
        """Whether a trial of fewer draws is better than the best on those."""
        number = len(trial.metrics)
        return number < len(best.metrics) and self._goal.rank(trial.mean) < self._goal.rank(
            mean_of(best, number)
        )

    def _tell(self, doing: str, num_done: int, num_in_all: int) -> None:
        if self._on_progress:
            best = self.leader() if self.standing() else None
            step = Step(
                doing=doing,
                num_done=num_done,
                num_in_all=num_in_all,
                policy=best.policy.name if best else None,
                metrics=best.mean if best else None,
            )
            self._on_progress(step)


def first_draws(question: Question, num_draws: int) -> int:
    """Draws that every whole run is made on: one, where it has tokens enough not to owe its time to
    chance.
    """
    tokens = question.batch.num_sequences * question.batch.context_tokens
    return min(num_draws, max(1, min(FEWEST_DRAWS, FIRST_TOKENS // tokens)))
