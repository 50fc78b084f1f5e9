"""Successive halving: many candidates on few draws, then few candidates on many."""

from collections.abc import Sequence

from planner.search.candidates import candidates, named_systems
from planner.search.draw_counts import CLOSE, FEWEST_DRAWS, close_fraction, first_draws
from planner.search.objectives import Goal
from planner.search.standing import (
    are_tied,
    as_time,
    is_allowed,
    is_precise,
    is_within,
    mean_of,
    overflows,
)
from planner.search.steps import Progress, RuledOut, Step
from planner.search.trial import Trial, different, is_feasible
from planner.search.trials import SHORT_STEPS, Trials
from sim.step.sampled import SAMPLED_TOKENS
from sim.step.simulate import Question, fits_cards

SCREENED_SHARE, SCREENED_LEAST, SCREENED_OTHERS, SCREENED_LAG = 0.2, 6, 2, 0.5
"""Candidates go on to whole runs if their short runs are among the best fifth (at least six).

A short run must also take at most 1.5 times as long as the best. The best two of every offer go on
too.
"""

MOST_CLOSE = 8
"""The most candidates that go on of those close to the best on the first draws."""

SAMPLES_MISS = 0.02
"""The error of times foretold from first tokens, as a fraction, against others so foretold."""

KEPT_OF, DRAWS_GROW = 3, 4
"""One of ``KEPT_OF`` candidates goes on to the next round, which has ``DRAWS_GROW`` times the
draws.
"""


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
        has_samples: bool = True,
        may_end_early: bool = False,
    ) -> None:
        """Start with nothing tried; ``num_draws`` is the most where the search may end early."""
        self._has_samples = has_samples
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
        self._close = close_fraction(questions[0])

    def go(self) -> None:
        """Rule out in closed form and by short runs, run whole, halve, decide ties."""
        screened = self._screened(self._placed())
        near = self._near(screened, "candidates")
        self.ruled_out.short_runs += len(screened) - len(near)
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
        """Return all trials that have run and may be the plan, of one offer or of all.

        Candidates come before named systems, else in the order of trying.
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
        """Return the trial that was decided for.

        Until then, the leader is the best by its mean of those with most draws, the earlier of
        equals.
        """
        return self._chosen or self._foremost(self.standing())

    def best_of(self, offer: int) -> Trial | None:
        """Return the best trial of an offer, None where none may be the plan."""
        found = self.standing(offer)
        return self._foremost(found) if found else None

    def second(self) -> Trial | None:
        """Return the best trial that does something else than the leader, None if there is none."""
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
        """Return the candidates that no floor rules out: their floors come close to a whole run.

        That run is of the candidate with the lowest floor. Each offer is looked at by itself, so
        that something of each is left.
        """
        left = []
        for offer in range(len(self.trials.questions)):
            own = [trial for trial in placed if trial.offer == offer]
            floors = []
            for number, floor in enumerate(self.trials.floors(own, self._first)):
                floors.append(floor)
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
            # Only a real time rules others out. Of what takes little to run, where there is any, that
            # which promises most is run.
            short = [pair for pair in bounded if not self.trials.may_be_sampled(pair[0])]
            first = min(short or bounded, key=lambda pair: self._goal.rank(pair[1].metrics(batch)))[
                0
            ]
            self._meet([first], self._first, "closed form")
            for trial, floor in zip(own, floors, strict=True):
                if (
                    floor is None
                    or trial is first
                    or self._is_close(self._goal.rank(floor.metrics(batch)), first)
                ):
                    left.append(trial)
        return left

    def _near(self, trials: Sequence[Trial], doing: str) -> list[Trial]:
        """Run on the first draws all trials that may come close to the best; return them.

        For long runs, the first tokens foretell which do. Of each offer, one trial is kept in any
        case.
        """
        sampled = [
            trial for trial in trials if self._has_samples and self.trials.may_be_sampled(trial)
        ]
        near = [trial for trial in trials if trial not in sampled]
        self._meet(near, self._first, doing)
        for number, _ in enumerate(self.trials.sample(sampled)):
            self._tell(f"{doing} by {SAMPLED_TOKENS} tokens", number + 1, len(sampled))
        near += self._close_by_samples(sampled)
        self._meet(near, self._first, doing)
        return near

    def _close_by_samples(self, sampled: Sequence[Trial]) -> list[Trial]:
        """Return the trials that may be the plan and whose samples come close to the best."""
        possible = [
            (trial, trial.sample)
            for trial in sampled
            if trial.sample is not None and self._is_allowed(trial) and not overflows(trial)
        ]
        best = [metrics for _, metrics in possible]
        if self.standing():
            best.append(mean_of(self.leader(), 1))
        near: list[Trial] = []
        for trial, metrics in sorted(possible, key=lambda pair: self._goal.rank(pair[1])):
            least = min(best, key=self._goal.rank)
            slack = self._close + SAMPLES_MISS
            is_close = is_within(self._goal, self._goal.rank(metrics), least, slack)
            # Offers are compared at the end, which needs something of each.
            if is_close or not (self.standing(trial.offer) or _has_offer(near, trial.offer)):
                near.append(trial)
        return different(near)

    def _meet_named(self) -> bool:
        """Run the named systems in the leader's offer, and in offers where no trial may be the
        plan.

        Return whether there were any to run.
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
        self._near(named, "named systems")
        return bool(named)

    def _meet_others(self) -> None:
        """Run the best of each offer that did not win on a few draws, to say what it would give."""
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
        """Run ever fewer trials on ever more draws, up to all draws.

        Then run on all draws whatever beats the best on the draws that both have met.
        """
        standing = different(sorted(self.standing(), key=self._rank))
        close = [trial for trial in standing if self._is_close(self._rank(trial), standing[0])]
        # The second goes on too, unless it is far behind: by how much it is worse is said.
        if len(close) == 1:
            close += [trial for trial in standing[1:2] if self._lags_little(trial, standing[0])]
        close = close[:MOST_CLOSE]
        number = FEWEST_DRAWS
        while close:
            number = min(number, self._num_draws)
            self._meet(close, number, f"{number} draws")
            close = sorted(close, key=self._rank)
            if number == self._num_draws or (
                self._may_end_early and is_precise(self._goal, close[0])
            ):
                # Challengers then meet no more draws than the best has met.
                self._num_draws = number
                break
            # Two at least, so that the last draws still decide something.
            close = close[: max(2, -(-len(close) // KEPT_OF))]
            number *= DRAWS_GROW
        self._challenge()

    def _challenge(self) -> None:
        while self.standing() and (
            found := [trial for trial in self.standing() if self._beats(trial, self.leader())]
        ):
            self._meet(found, self._num_draws, "challengers")

    def _decided(self) -> Trial:
        """Return the earliest trial that is tied with the best and that no named system outdoes."""
        best = self.leader()
        for trial in self.standing():
            if (
                len(trial.metrics) == len(best.metrics)
                and are_tied(self._goal, trial, best)
                and not self._is_outdone(trial)
            ):
                return trial
        return best

    def _is_outdone(self, trial: Trial) -> bool:
        return any(
            self._beats(other, trial) or self._rank(other) < self._rank(trial)
            for other in self.standing()
            if other.is_named
        )

    def _meet(self, trials: Sequence[Trial], num_draws: int, doing: str) -> None:
        """Run the trials on those of the first ``num_draws`` draws that they have not met."""
        for number, _ in enumerate(self.trials.meet(trials, num_draws)):
            self._tell(doing, number + 1, len(trials))

    def _rank(self, trial: Trial) -> tuple[float, float]:
        return self._goal.rank(trial.mean)

    def _is_close(self, rank: tuple[float, float], best: Trial) -> bool:
        """Whether a rank is worse than the best trial's by no more than chance in the draws may
        change.
        """
        return is_within(self._goal, rank, best.mean, self._close)

    def _lags_little(self, trial: Trial, best: Trial) -> bool:
        """Whether the trial is at most 5 % slower than the best."""
        return is_within(self._goal, self._rank(trial), best.mean, CLOSE)

    def _beats(self, trial: Trial, best: Trial) -> bool:
        """Whether a trial with fewer draws than the best is better than the best on those draws."""
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


def _has_offer(trials: Sequence[Trial], offer: int) -> bool:
    return any(trial.offer == offer for trial in trials)
