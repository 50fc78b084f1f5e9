"""Running a policy whose residents stay, gate by gate: for routers whose choices are not known
beforehand.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from sim.costs.memory import Residency
from sim.engine.compilation import by_itself
from sim.engine.program import Platform, Session, Wait
from sim.engine.task import NONE
from sim.policies.actions import Action, LayerMode
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.lowering.decisions import Decisions, spilled_of, weighing_of
from sim.step.lowering.draft import IS_SERIAL, STEP, Draft, Moment
from sim.step.lowering.early import Early, early_of
from sim.step.lowering.job import submit
from sim.step.lowering.lower import (
    MAX_TASKS_PER_LAYER,
    MAX_TASKS_PER_PASS,
    RESOURCES,
    fresh_draft,
    platform,
    sheet_of,
)
from sim.step.lowering.misses import Weighing, decide_misses
from sim.step.lowering.passes import begin_layer, end_layer, end_pass
from sim.step.lowering.prices import price
from sim.workload.batch import Passes

_begin_layer = by_itself(begin_layer)
_end_layer = by_itself(end_layer)
_end_pass = by_itself(end_pass)

MAX_TASKS_PER_EXPERT = 2
"""A copy and a run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticJob:
    """Everything a static run works on. The caller writes what a gate selects into
    ``draft.sheet.tokens`` before the gate is over.
    """

    policy: Policy
    problem: Problem
    residency: Residency
    platform: Platform
    draft: Draft
    weighing: Weighing
    early: Early

    def decide(self, index: int, layer: int) -> None:
        """Fill in the actions of a layer whose gate is known, in the pass with number ``index``."""
        sheet = self.draft.sheet
        tokens = sheet.tokens[index, layer]
        actions = sheet.actions[index, layer]
        mode = sheet.work["mode"][index, layer]
        if mode != LayerMode.GPU:
            # Outside mode GPU nothing is left to decide: all experts run where the layer runs.
            everywhere = Action.CPU if mode == LayerMode.CPU else Action.RESIDENT
            actions[:] = np.where(tokens > 0, everywhere, Action.IDLE)
            return
        # The compiled rule decides whole runs. Here it is shown one layer of one pass.
        own = slice(layer, layer + 1)
        now = slice(index, index + 1)
        beside = self.weighing.beside
        weighing = self.weighing._replace(
            shape_of=self.weighing.shape_of[own],
            beside=beside._replace(dense=beside.dense[now], num_tokens=beside.num_tokens[now]),
        )
        early = self.early
        if len(early.experts):
            early = Early(
                experts=np.ascontiguousarray(early.experts[now, own]), lead=early.lead[now]
            )
        chosen = np.zeros((1, 1, len(tokens)), np.uint8)
        decide_misses(tokens[None, None], self.residency.experts[own], weighing, early, chosen)
        # What came early and was not selected keeps its action, which says that it has a buffer.
        actions[:] = np.where(actions == Action.EARLY, actions, chosen[0, 0])

    @property
    def decisions(self) -> Decisions:
        """What has been decided; complete once the run has ended."""
        sheet = self.draft.sheet
        actions = np.where(sheet.tokens > 0, sheet.actions, np.uint8(Action.IDLE))
        modes = sheet.work["mode"].astype(np.uint8)
        is_held = np.broadcast_to(self.residency.experts, actions.shape)
        return Decisions(
            actions=actions,
            modes=modes,
            head_modes=sheet.passes["head_mode"].astype(np.uint8),
            spilled=spilled_of(self.policy, actions, modes, is_held),
            early=self.early.experts if len(self.early.experts) else None,
        )


def static_job(policy: Policy, problem: Problem, residency: Residency, passes: Passes) -> StaticJob:
    """Prepare a run on one GPU, with room and a price for whatever its gates may select."""
    model = problem.model
    most_tokens = int(passes.num_tokens.max())
    modes = np.ascontiguousarray(policy.dispatch.layer_modes(residency, passes.num_tokens))
    early = early_of(policy, problem, residency, passes, modes)
    shape = (len(passes), model.num_layers, model.num_experts)
    decisions = Decisions(
        actions=np.zeros(shape, np.uint8),
        modes=modes,
        head_modes=policy.dispatch.head_modes(residency, passes.num_tokens),
        early=early.experts if len(early.experts) else None,
    )
    prices = price(problem, passes, modes, decisions.head_modes, most_tokens)
    tokens = np.zeros(shape, np.int32)
    sheet = sheet_of(problem, passes, tokens, decisions, (prices, len(RESOURCES)))
    return StaticJob(
        policy=policy,
        problem=problem,
        residency=residency,
        platform=platform(problem.machine, RESOURCES),
        draft=fresh_draft(problem, sheet, _most_tasks(problem, passes, early)),
        weighing=weighing_of(policy, problem, passes.num_tokens, most_tokens),
        early=early,
    )


def process(job: StaticJob, session: Session) -> Generator[Wait, None, None]:
    """Run the policy of a static job on any engine's session, yielding at every gate."""
    draft = job.draft
    passes = draft.sheet.passes
    num_layers = draft.sheet.work.shape[1]
    submitted = 0
    for index in range(len(passes)):
        draft.state[IS_SERIAL] = passes[index]["is_serial"]
        draft.state[STEP] = passes[index]["step"]
        for layer in range(num_layers):
            now = Moment(index, layer, index * num_layers + layer)
            gate, streamed, early = _begin_layer(draft, now)
            if gate == NONE:
                continue
            submitted = submit(draft, submitted, session)
            # The selection decides which tasks follow, so none of them can be submitted before.
            yield (int(gate),)
            job.decide(index, layer)
            _end_layer(draft, now, gate, streamed, early)
        _end_pass(draft, index)
    submit(draft, submitted, session)


def _most_tasks(problem: Problem, passes: Passes, early: Early) -> int:
    """The most tasks that the passes can come to, whatever is selected."""
    selectable = sum(
        np.minimum(layer.num_experts, passes.num_tokens.astype(np.int64) * layer.top_k).sum()
        for layer in problem.model.layers
    )
    num_runs = int(selectable) + int(np.count_nonzero(early.experts))
    num_layers = len(passes) * problem.model.num_layers
    return (
        MAX_TASKS_PER_EXPERT * num_runs
        + MAX_TASKS_PER_LAYER * num_layers
        + MAX_TASKS_PER_PASS * len(passes)
    )
