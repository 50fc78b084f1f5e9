"""Long decodes in bounded memory: passes are run in parts, and only the totals of a part are kept.

If nothing is copied ahead of a pass, all its tasks wait, directly or not, for the last task of the
pass before. So a run equals its parts run one after another, to the nanosecond. Copies that go on
from pass to pass are carried over into the next part. ``long_live`` carries over those of caches,
``long_static`` those of streamed or pipelined layers.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Infeasible, Residency
from sim.engine.timeline import digest_rows, shown_digest
from sim.policies.actions import LayerMode
from sim.policies.cache.score import Score
from sim.policies.cache.state import CacheState
from sim.policies.foresight import Foresight, PartOf
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.routing.base import tokens_per_expert
from sim.step.execute import Execution, execute
from sim.step.long_live import LiveParts
from sim.step.long_static import ProgramParts
from sim.step.lowering.decisions import held_after_prompt, shelf_of
from sim.step.lowering.live_setup import next_uses
from sim.step.lowering.slots import Cached
from sim.step.lowering.static_border import num_ahead
from sim.step.metrics import Metrics, Totals, metrics_of, totals_of
from sim.step.parts import Part
from sim.step.simulate import (
    Drawn,
    Scenario,
    check,
    draw_ids,
    fixed_bytes,
    foresight_of,
    memory_items,
    problem_of,
    tuned,
    warnings_of,
)
from sim.step.under_way import UnderWay
from sim.workload.batch import Passes, forward_passes, passes_between

GATE_SCORES = (Score.SMOOTHED_GATE, Score.SELECTIVE_GATE)
"""Scores that are computed from the gates of the current part."""
LONG_PASSES = 1_000
"""A run of more output tokens than this is run in parts, if its policy allows that."""
PART_PASSES = 256
"""The number of passes in a part; they take some tens of MB for models of today."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LongRun:
    """What is kept of a run that has too many tasks to keep; the fields are as in Run."""

    scenario: Scenario
    residency: Residency
    metrics: Metrics
    memory_items: dict[str, int]
    timeline_digest: str
    warnings: tuple[str, ...]


def reason_to_keep(policy: Policy) -> str | None:
    """Return why a run of the policy has to be kept whole; None if it may be the sum of its parts.

    The scenario may still forbid parts; ``simulate_long`` finds out.
    """
    reasons = {
        "what its predictor names is worked out for the whole run": policy.prefetch.is_active
        and not policy.prefetch.comes_in_parts,
        "what it foretells is worked out for the whole run": policy.dispatch.foretells
        and not policy.dispatch.foretells_in_parts,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def comes_apart(policy: Policy) -> bool:
    """Whether a run of the policy may be the sum of its parts."""
    return reason_to_keep(policy) is None


def is_long(scenario: Scenario) -> bool:
    """Whether the run has so many passes that keeping all its tasks takes much memory."""
    return scenario.batch.output_tokens > LONG_PASSES and comes_apart(scenario.policy)


def simulate_long(
    scenario: Scenario, look: Callable[[Part], None], part_passes: int = PART_PASSES
) -> LongRun | Infeasible | None:
    """Run the scenario part by part and pass each part to ``look``.

    The figures equal those of ``simulate``. Return None if the run is not the sum of its parts, and
    Infeasible where ``simulate`` does.
    """
    check(scenario)
    scenario = tuned(scenario)
    if not comes_apart(scenario.policy):
        return None
    problem = problem_of(scenario)
    residency = scenario.policy.placement.place(problem)
    if isinstance(residency, Infeasible):
        return residency
    if shelf_of(problem, residency) is not None:
        return None  # what host memory holds goes on from part to part
    parts = _parts_of(scenario, problem, residency)
    if parts is None:
        return None
    borders = _borders(parts.passes, part_passes)
    for border, later_uses in zip(borders, parts.later_uses(borders), strict=True):
        if not parts.add(border, later_uses, look):
            return None
    return parts.result()


def _parts_of(scenario: Scenario, problem: Problem, residency: Residency) -> "_Parts | None":
    """Return the object that runs the parts; None if the parts do not add up to the run."""
    policy = scenario.policy
    passes = forward_passes(scenario.batch, policy.feeding)
    if policy.prefetch.early(problem, residency, passes) is not None:
        return None  # such a copy may begin any number of passes ahead, where its buffer is free
    if _goes_on(policy):
        is_known = _may_go_on(scenario)
        return _GoingOn(scenario, problem, residency, passes) if is_known else None
    if _runs_ahead(policy, residency, passes):
        is_known = _may_go_on(scenario) and _is_plain(policy)
        return _Program(scenario, problem, residency, passes) if is_known else None
    return _Parts(scenario, problem, residency, passes)


def _goes_on(policy: Policy) -> bool:
    """Return whether prefetches, experts in turn or gate scores carry on from pass to pass."""
    return (
        policy.prefetch.is_active
        or policy.overlap.in_turn
        or (not policy.keeps_residency and policy.cache.score in GATE_SCORES)
    )


def _may_go_on(scenario: Scenario) -> bool:
    """Return whether tasks under way can be carried over the border between two parts.

    They can on one GPU and the fast engine. A predictor must also have a single sequence to
    predict.
    """
    is_alone = scenario.split is None or scenario.split.num_cards == 1
    is_single = scenario.batch.num_sequences == 1 or not scenario.policy.prefetch.is_active
    return scenario.engine == "fast" and is_alone and is_single


def _runs_ahead(policy: Policy, residency: Residency, passes: Passes) -> bool:
    """Return whether layers are streamed or pipelined, or the head does not run from GPU memory.

    Then a task may begin before the pass before it has ended, or the head may leave the hidden
    state on the CPU.
    """
    modes = policy.dispatch.layer_modes(residency, passes.num_tokens)
    heads = policy.dispatch.head_modes(residency, passes.num_tokens)
    is_ahead = np.isin(modes, (LayerMode.STREAM, LayerMode.PIPELINE)).any()
    return bool(is_ahead or (heads != LayerMode.GPU).any())


def _is_plain(policy: Policy) -> bool:
    """Whether residents stay from the start, and every layer runs its own experts."""
    return (
        policy.keeps_residency
        and not policy.placement.is_remade
        and not policy.overlap.deferred
        and not policy.dispatch.foretells
    )


def _borders(passes: Passes, part_passes: int) -> list[slice]:
    """Return the slices of passes that are the parts of a run; no group of passes is divided.

    The first part is the prompts with ``part_passes`` passes after them. Each further part has
    about ``part_passes`` passes.
    """
    first = int(np.count_nonzero(passes.is_prefill)) + part_passes
    group = passes.group
    ahead = [
        int(np.searchsorted(group, group[at])) for at in range(first, len(passes), part_passes)
    ]
    starts = sorted({0, *ahead})
    return [
        slice(start, end) for start, end in zip(starts, [*starts[1:], len(passes)], strict=True)
    ]


class _Parts:
    """The parts of a run so far, each of which begins when the one before has ended."""

    def __init__(
        self, scenario: Scenario, problem: Problem, residency: Residency, passes: Passes
    ) -> None:
        self.passes = passes
        self._scenario = scenario
        self._problem = problem
        self._residency = residency
        self._ids = draw_ids(scenario)
        self._hash = hashlib.sha256()
        # What the GPU holds by now of what stays there, and what a cache has come to.
        self._held = residency
        self._cached: Cached | CacheState | None = None
        cache = scenario.policy.cache
        if not cache.is_static and cache.score is None:
            self._cached = cache.start(residency)
        self._totals: Totals | None = None

    def later_uses(self, borders: Sequence[slice]) -> Sequence[NDArray[np.int32] | None]:
        """Return ``later_uses`` of each part, as in Foresight; None if the cache does not need
        them.
        """
        if self._scenario.policy.cache.score is not Score.NEXT_USE:
            return [None] * len(borders)
        model = self._scenario.model
        # Nothing is used behind the last pass, whose number stands for never, as in a whole run.
        following = np.full((model.num_layers, model.num_experts), len(self.passes), np.int32)
        found = []
        for border in reversed(borders):
            own = following - border.start
            found.append(own)
            following = next_uses(self._drawn(border).tokens, own)[0] + border.start
        return found[::-1]

    def _drawn(self, border: slice) -> Drawn:
        """The passes of a part, and the tokens of their experts."""
        passes = passes_between(self.passes, border.start, border.stop)
        tokens = tokens_per_expert(self._scenario.model, self._ids, passes)
        return Drawn(passes=passes, expert_ids=self._ids, tokens=tokens)

    def _part_of(self, border: slice) -> PartOf:
        """Return where the passes of a part stand in the run, without the tokens of
        earlier passes.
        """
        model = self._scenario.model
        return PartOf(
            num_before=border.start,
            num_passes=len(self.passes),
            crowded=np.zeros((0, model.num_layers, model.num_experts), np.int32),
        )

    def add(
        self,
        border: slice,
        later_uses: NDArray[np.int32] | None,
        look: Callable[[Part], None],
    ) -> bool:
        """Run the next part; return False if a task of this part outlasts its last pass."""
        scenario = self._scenario
        drawn = self._drawn(border)
        foresight = replace(
            foresight_of(scenario, self._problem, self._residency, drawn),
            later_uses=later_uses,
            part_of=self._part_of(border),
        )
        execution = execute(scenario.policy, self._held, foresight, scenario.engine, self._cached)
        if not _is_whole(execution):
            return False
        if execution.cached is not None:
            self._cached = execution.cached
        experts = held_after_prompt(
            scenario.policy, self._problem, self._held, drawn.passes, drawn.tokens
        )
        self._held = replace(self._held, experts=experts)
        totals = totals_of(execution, foresight, np.flatnonzero(execution.tokens))
        # The digest is that of the whole run: each part's times are put behind those before.
        before_ns = 0 if self._totals is None else self._totals.makespan_ns
        self._hash.update(digest_rows(execution.timeline, before_ns))
        self._totals = totals if self._totals is None else self._totals.followed_by(totals)
        part = Part(
            scenario=scenario,
            passes=drawn.passes,
            tokens=execution.tokens,
            decisions=execution.decisions,
            timeline=execution.timeline,
            busy=execution.timeline,
        )
        look(part)
        return True

    def result(self) -> LongRun:
        """Return the figures of the whole run."""
        scenario = self._scenario
        residency = self._residency
        assert self._totals is not None
        items = memory_items(self._problem, residency, scenario.policy)
        metrics = metrics_of(
            self._totals,
            scenario.batch,
            num_resident_experts=residency.num_experts,
            fixed_bytes=fixed_bytes(self._problem, residency, items),
        )
        return LongRun(
            scenario=scenario,
            residency=residency,
            metrics=metrics,
            memory_items=items,
            timeline_digest=shown_digest(self._hash),
            warnings=warnings_of(scenario, metrics),
        )


class _UnderWay(_Parts):
    """The parts of a run so far, whose tasks may go on in the next part."""

    _under_way: UnderWay

    def _take(self, foresight: Foresight, border: slice, look: Callable[[Part], None]) -> None:
        """Drive the passes of a part; take over the hash and the totals of all passes
        shown so far.
        """
        is_last = border.stop == len(self.passes)
        self._under_way.add(foresight, look, border.stop - border.start, is_last=is_last)
        self._hash = self._under_way.hash
        self._totals = self._under_way.totals


class _GoingOn(_UnderWay):
    """The parts of a run with a cache whose copies may go on in the next part."""

    def __init__(
        self, scenario: Scenario, problem: Problem, residency: Residency, passes: Passes
    ) -> None:
        super().__init__(scenario, problem, residency, passes)
        self._under_way = self._live = LiveParts(scenario, residency)
        model = scenario.model
        self._crowded = np.zeros((0, model.num_layers, model.num_experts), np.int32)

    def add(
        self,
        border: slice,
        later_uses: NDArray[np.int32] | None,
        look: Callable[[Part], None],
    ) -> bool:
        """Run the next part."""
        drawn = self._drawn(border)
        part_of = replace(self._part_of(border), crowded=self._crowded, learnt=self._live.learnt)
        foresight = replace(
            foresight_of(self._scenario, self._problem, self._residency, drawn),
            later_uses=later_uses,
            part_of=part_of,
        )
        self._take(foresight, border, look)
        if self._scenario.policy.prefetch.is_active:
            # One sequence then: only its prompt feeds several tokens at once.
            is_crowded = drawn.passes.num_tokens > 1
            self._crowded = np.concatenate([self._crowded, drawn.tokens[is_crowded]])
        return True


class _Program(_UnderWay):
    """The parts of a run whose residents stay and whose layers are streamed or pipelined."""

    def __init__(
        self, scenario: Scenario, problem: Problem, residency: Residency, passes: Passes
    ) -> None:
        super().__init__(scenario, problem, residency, passes)
        self._under_way = ProgramParts(scenario, problem, residency)

    def add(
        self,
        border: slice,
        later_uses: NDArray[np.int32] | None,
        look: Callable[[Part], None],
    ) -> bool:
        """Run the next part; the groups of passes after it say which pages are copied ahead for
        them.
        """
        stop = border.stop
        if self._scenario.policy.feeding.is_pipelined:
            last_group = self.passes.group[stop - 1] + num_ahead(self._problem)
            stop = int(np.searchsorted(self.passes.group, last_group, "right"))
        known = slice(border.start, stop)
        foresight = replace(
            foresight_of(self._scenario, self._problem, self._residency, self._drawn(known)),
            part_of=self._part_of(known),
        )
        self._take(foresight, border, look)
        return True


def _is_whole(execution: Execution) -> bool:
    """Return whether no task of a part outlasts its last pass.

    The next part begins when this part ends, so no task may run on beyond that instant.
    """
    timeline = execution.timeline
    return int(timeline.end_ns[execution.last_task[-1]]) == timeline.makespan_ns
