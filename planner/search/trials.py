"""Trials of policies on common random routing.

Each has its runs over the draws that it has met, or the reason why it has none.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.units import MIB
from planner.search.floors import Floor, Floors
from planner.search.threads import NUM_THREADS
from planner.search.trial import Trial, is_feasible, note, times_of
from sim.costs.cards import cost_model
from sim.costs.memory import Infeasible, Residency, weight_bytes
from sim.memo import Memo, num_array_bytes
from sim.policies.placement.fitting import RankedPlacement
from sim.policies.placement.limits import with_every_limit
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.room import Rooms
from sim.routing.base import tokens_per_expert
from sim.step.draws import seed_of
from sim.step.lowering.decisions import shelf_of
from sim.step.metrics import Metrics
from sim.step.repeated import metrics_drawn
from sim.step.sampled import (
    SAMPLED_TOKENS,
    first_tokens,
    is_worth_sampling,
    metrics_sampled,
)
from sim.step.simulate import (
    Drawn,
    Question,
    Run,
    Scenario,
    check_cards,
    memory_items,
    problem_of,
    run_drawn,
    tuned,
)
from sim.workload.batch import Feeding, forward_passes, with_shared_prompts

SHORT_STEPS = 16
"""Output tokens of the short runs that screen candidates; what they say of decoding stands for all
further tokens.
"""

MOST_SHARED_BYTES = 192 * MIB
"""The most bytes of predictions about draws that are kept for other runs over the same draws.

Predictions of two draws of 512 passes of 94 layers of 128 experts take as many. Runs of one draw
follow one another, so that more would serve no run.
"""

MOST_RANKINGS = 1000
"""Rankings of experts that a search keeps: one for each placement and feeding, some dozens."""


MOST_FIRSTS = 32
"""First tokens of the first draw that a search keeps, by way of feeding.

Candidates cut prompts in a few sizes.
"""


class Trials:
    """All trials of a search, on common draws. Nothing depends on the order of trying."""

    def __init__(self, questions: Sequence[Question]) -> None:
        """Start with nothing tried.

        The questions differ in machine and in how weights are stored alone.
        """
        self.questions = tuple(questions)
        self._costs = tuple(
            cost_model(question.machine, question.model, question.split)
            for question in self.questions
        )
        self._kept: tuple[Trial, Run] | None = None
        self._draws: dict[tuple[Feeding, int], Drawn] = {}
        self._experts: dict[int, NDArray[np.int16]] = {}
        self._shared = Memo(MOST_SHARED_BYTES, num_array_bytes)
        self._rankings = Memo(MOST_RANKINGS)
        self._firsts = Memo(MOST_FIRSTS)
        self._rooms = Rooms()

    def start(self, policy: Policy, *, is_named: bool, offer: int = 0) -> Trial:
        """Place the policy, and return its trial.

        A named system that cannot be run here at all is Infeasible, with what its error says.
        """
        scenario = self.questions[offer].under(policy)
        try:
            check_cards(scenario)
            # All policies of an offer share one table of prices, of which most ask for the same.
            scenario = tuned(scenario, self._costs[offer])
            policy = scenario.policy
            problem = problem_of(scenario, self._costs[offer])
            residency = with_every_limit(problem, self._placed(policy, problem, offer))
        except InputError as error:
            if not is_named:
                raise
            problem = problem_of(scenario)
            residency = Infeasible(reason=str(error), missing_bytes=0)
        return Trial(
            policy=policy, is_named=is_named, problem=problem, residency=residency, offer=offer
        )

    def meet(self, trials: Sequence[Trial], num_draws: int) -> Iterator[Trial]:
        """Run each trial on those of the first ``num_draws`` draws that it has not met, several at
        once.

        Yields each trial when it has run, in order. An interruption leaves a trial with the draws
        before.
        """
        steps = [
            (trial, number)
            for trial in trials
            for number in range(len(trial.metrics), num_draws)
            if is_feasible(trial)
        ]
        with ThreadPoolExecutor(
            NUM_THREADS
        ) as threads:  # compiled code runs without the interpreter's lock
            try:
                list(
                    threads.map(
                        lambda key: self.drawn(*key),
                        dict.fromkeys((trial.policy.feeding, number) for trial, number in steps),
                    )
                )
                # Prefetchers take longest; what starts last would keep the others waiting. Draw after
                # draw, since what one says of a draw is kept for the next, but not of many draws.
                order = sorted(
                    range(len(steps)),
                    key=lambda place: (
                        not steps[place][0].policy.prefetch.is_active,
                        steps[place][1],
                    ),
                )
                running = {
                    place: threads.submit(self._outcome, *steps[place]) for place in order
                }  # what takes longest is not left to the end
                found = (running[place].result() for place in range(len(steps)))
                for trial in trials:
                    for _ in range(len(trial.metrics), num_draws if is_feasible(trial) else 0):
                        note(trial, next(found))
                    yield trial
            finally:
                threads.shutdown(cancel_futures=True)

    def _outcome(self, trial: Trial, number: int) -> "tuple[Metrics, int] | Infeasible":
        """Return a trial's metrics on that draw, and the most bytes of weights held (0 but for the
        first draw).

        Infeasible where a named system cannot be run here.
        """
        metrics = _unless_refused(trial, lambda: self.metrics_of(trial, number))
        if isinstance(metrics, Infeasible):
            return metrics
        # Bytes are stated of the first draw alone.
        if number:
            return metrics, 0
        assert isinstance(trial.residency, Residency)
        items = memory_items(trial.problem, trial.residency, trial.policy)
        # Plans are for one GPU, or for cards that count as one.
        staged = metrics.peak_gpu_memory_bytes - sum(items.values())
        return metrics, weight_bytes(trial.problem.model, trial.residency) + staged

    def may_be_sampled(self, trial: Trial) -> bool:
        """Whether the trial has not run yet, and its first tokens foretell its run for less than
        the run takes.
        """
        if trial.metrics or not isinstance(trial.residency, Residency):
            return False
        # What host memory keeps of a disk takes longer to settle than a sample lasts.
        if shelf_of(trial.problem, trial.residency) is not None:
            return False
        passes = self.drawn(trial.policy.feeding, 0).passes
        return is_worth_sampling(trial.policy, trial.problem, trial.residency, passes)

    def sample(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Foretell each trial's run on the first draw from its first tokens, several at once.

        Yields each trial when that is done, in order.
        """
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            try:
                # What takes longest is not left to the end.
                order = sorted(
                    range(len(trials)),
                    key=lambda place: not trials[place].policy.prefetch.is_active,
                )
                running = {place: threads.submit(self._sampled, trials[place]) for place in order}
                for place, trial in enumerate(trials):
                    found = running[place].result()
                    if isinstance(found, Infeasible):
                        trial.residency = found
                    else:
                        trial.sample = found
                    yield trial
            finally:
                threads.shutdown(cancel_futures=True)

    def _sampled(self, trial: Trial) -> Metrics | Infeasible:
        """Return what the first tokens foretell; Infeasible where a named system cannot be run
        here.
        """
        scenario, problem, residency, whole = self._given(trial, 0)
        draws = whole, self._first_tokens(trial.policy.feeding, SAMPLED_TOKENS)
        return _unless_refused(
            trial, lambda: metrics_sampled(scenario, problem, residency, draws, self._rooms)
        )

    def first_run(self, trial: Trial) -> Run:
        """The run of a trial on the first draw; the last that was asked for is kept."""
        if self._kept is None or self._kept[0] is not trial:
            self._kept = trial, self.whole_run(trial, 0)
        return self._kept[1]

    def are_alike(self, one: Trial, other: Trial) -> bool:
        """Whether two trials that have run do the same at the same times on the first draw."""
        # Equal timelines have equal times, and those are known: few timelines are made anew.
        return (
            times_of(one.metrics[0]) == times_of(other.metrics[0])
            and self.first_run(one).timeline.digest == self.whole_run(other, 0).timeline.digest
        )

    def metrics_of(self, trial: Trial, number: int) -> Metrics:
        """The metrics of a trial on that draw."""
        return metrics_drawn(*self._given(trial, number), self._rooms)

    def whole_run(self, trial: Trial, number: int) -> Run:
        """The run of a trial on that draw, with its timeline."""
        return run_drawn(*self._given(trial, number))

    def _given(self, trial: Trial, number: int) -> tuple[Scenario, Problem, Residency, Drawn]:
        """Return what a trial's run on that draw is made from."""
        assert isinstance(trial.residency, Residency)
        own = self.questions[trial.offer]
        scenario = replace(own.under(trial.policy), seed=seed_of(own.seed, number))
        drawn = self.drawn(trial.policy.feeding, number)
        return scenario, trial.problem, trial.residency, drawn

    def floors(self, trials: Sequence[Trial], num_draws: int) -> Iterator[Floor | None]:
        """Yield the floor of each trial over the first draws, several worked out at once."""
        known = Floors()

        def floor(trial: Trial) -> Floor | None:
            """Return the floor of one trial, which fits."""
            assert isinstance(trial.residency, Residency)
            draws = [self.drawn(trial.policy.feeding, number) for number in range(num_draws)]
            return known.floor(trial.policy, trial.problem, trial.residency, draws)

        with ThreadPoolExecutor(
            NUM_THREADS
        ) as threads:  # large arrays are worked on without the lock
            try:
                yield from threads.map(floor, trials)
            finally:
                threads.shutdown(cancel_futures=True)

    def screened(self, trials: Sequence[Trial]) -> Iterator[Metrics]:
        """Yield what the prompt and first few tokens promise for each trial's whole run.

        Several trials are run at once, on the first draw.
        """
        shorts = {
            feeding: self._short(feeding)
            for feeding in dict.fromkeys(trial.policy.feeding for trial in trials)
        }
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            try:
                yield from threads.map(
                    lambda trial: self._screened(trial, shorts[trial.policy.feeding]), trials
                )
            finally:
                threads.shutdown(cancel_futures=True)

    def _screened(self, trial: Trial, drawn: Drawn) -> Metrics:
        assert isinstance(trial.residency, Residency)
        own = self.questions[trial.offer]
        batch = own.batch
        short = replace(
            own.under(trial.policy),
            batch=replace(batch, output_tokens=min(SHORT_STEPS, batch.output_tokens)),
        )
        found = metrics_drawn(short, trial.problem, trial.residency, drawn, self._rooms)
        # Steps of decoding last much alike, so the first few stand for all.
        end_s = found.ttft_s + found.tpot_s * (batch.output_tokens - 1)
        return replace(
            found,
            end_to_end_s=end_s,
            output_tokens_per_s=batch.batch_size * batch.output_tokens / end_s,
        )

    def _short(self, feeding: Feeding) -> Drawn:
        """The first draw, cut to what screening runs."""
        return self._first_tokens(feeding, min(SHORT_STEPS, self.questions[0].batch.output_tokens))

    def _first_tokens(self, feeding: Feeding, output_tokens: int) -> Drawn:
        """Return the first draw up to that output token.

        All runs share this cut draw, and with it what predictors say of it.
        """
        return self._firsts.get(
            (feeding, output_tokens), lambda: first_tokens(self.drawn(feeding, 0), output_tokens)
        )

    def drawn(self, feeding: Feeding, number: int) -> Drawn:
        """Return the draw of that number, fed in that way.

        All feedings have the same tokens, and all ways of storing weights the same experts.
        """
        if (feeding, number) not in self._draws:
            question = self.questions[0]
            experts = self._drawn_experts(number)
            passes = forward_passes(question.batch, feeding)
            tokens = tokens_per_expert(question.model, experts, passes)
            self._draws[feeding, number] = Drawn(
                passes=passes, expert_ids=experts, tokens=tokens, shared=self._shared
            )
        return self._draws[feeding, number]

    def _drawn_experts(self, number: int) -> NDArray[np.int16]:
        """Return the experts of every token in that draw, kept once for all feedings.

        With long prompts, they are most of what a search holds.
        """
        if number not in self._experts:
            question = self.questions[0]
            batch = question.batch
            seed = seed_of(question.seed, number)
            rows = question.routing.experts(
                question.model, batch.num_sequences, batch.context_tokens - 1, seed
            )
            # Another thread may have drawn the same meanwhile; all keep the one that came first.
            self._experts.setdefault(number, with_shared_prompts(rows, batch))
        return self._experts[number]

    def _placed(self, policy: Policy, problem: Problem, offer: int) -> Residency | Infeasible:
        """Return where the policy places everything.

        Its ranking is computed once for all policies that agree in everything that the ranking
        weighs.
        """
        placement = policy.placement
        overlap = policy.overlap
        if not isinstance(placement, RankedPlacement):
            return placement.place(problem)

        def ranking(problem: Problem) -> NDArray[np.float64]:
            """Return the ranking [layer, expert] of RankedPlacement, kept for policies that rank
            alike.
            """
            # All that a ranking looks at of a policy. Two policies that agree in this place alike.
            is_serial = tuple(overlap.is_serial(np.array([True, False])).tolist())
            buffers = overlap.staging_experts if placement.weighs_buffers else None
            kernels = overlap.groups_experts, overlap.captures_graphs
            key = (offer, placement, policy.feeding, is_serial, overlap.is_pinned, kernels, buffers)
            return self._rankings.get(key, lambda: placement.ranking(problem))

        return placement.place_ranked(problem, ranking)


def _unless_refused(trial: Trial, run: Callable[[], Metrics]) -> Metrics | Infeasible:
    """Return what the run gives; Infeasible, with the error's words, where a named system cannot
    run here.
    """
    try:
        return run()
    except InputError as error:
        if not trial.is_named:
            raise
        return Infeasible(reason=str(error), missing_bytes=0)
