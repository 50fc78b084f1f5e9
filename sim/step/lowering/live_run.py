"""Running a policy whose residency changes with time, on any engine."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.engine.compilation import by_itself
from sim.engine.program import Platform, Session, Wait
from sim.engine.task import NONE, Discipline, Resource
from sim.engine.timeline import Timeline
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.room import OWN_MEMORY, Room
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.draft import H2D, IS_SERIAL, STEP, Draft, Moment, Sheet
from sim.step.lowering.job import submit
from sim.step.lowering.live import (
    MATCHER,
    emit_after_gate,
    emit_end_of_pass,
    emit_start_of_pass,
    emit_to_gate,
)
from sim.step.lowering.live_setup import fresh_cache, fresh_live, most_queued, predicted
from sim.step.lowering.live_state import Live
from sim.step.lowering.lower import (
    MATCHER_RESOURCE,
    MAX_TASKS_PER_PEER,
    RESOURCES,
    fresh_draft,
    platform,
    resources_of,
    sheet_of,
    with_peers,
)
from sim.step.lowering.operations import DROP, PROMOTE
from sim.step.lowering.prices import price
from sim.step.lowering.slots import (
    ARRIVED,
    NOW_NS,
    NUM_COMING,
    NUM_OPERATIONS,
    STARTED,
    WASTED_BYTES,
    Cached,
)

LIVE_RESOURCES = (
    *RESOURCES[:H2D],
    Resource(name=RESOURCES[H2D].name, discipline=Discipline.PRIORITY),
    *RESOURCES[H2D + 1 :],
    MATCHER_RESOURCE,
)
"""RESOURCES and the matcher, with copies to the GPU that go by priority."""
assert LIVE_RESOURCES[MATCHER].name == "matcher"

_emit_start_of_pass = by_itself(emit_start_of_pass)
_emit_to_gate = by_itself(emit_to_gate)
_emit_after_gate = by_itself(emit_after_gate)
_emit_end_of_pass = by_itself(emit_end_of_pass)

MAX_TASKS_PER_GATE = 10
MAX_TASKS_PER_PASS = 6
MAX_COPIES_AWAITED = 2
"""A task may wait for the copy of its expert, and for one that the end of a layer awaits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveJob:
    """Everything a live run works on: read by both drivers, changed by the one that runs it.

    ``learnt`` is what its predictor goes on from, as in Predictions.
    """

    platform: Platform
    draft: Draft
    cached: Cached
    live: Live
    room: Room = OWN_MEMORY
    learnt: object | None = None

    @property
    def sheet(self) -> Sheet:
        """What the run is made from, and the actions that it has taken."""
        return self.draft.sheet

    @property
    def spilled(self) -> NDArray[np.bool_] | None:
        """The spilled experts as in Decisions, complete once the run has ended."""
        return self.live.spilled if self.live.spilled.size else None

    def wasted_bytes(self, timeline: Timeline) -> int:
        """Bytes of prefetches that were copied and never used: evicted before, or unused to the
        end.
        """
        unused = self.cached.slots["copy"][self.cached.slots["is_unused"] == 1]
        copied = unused[~timeline.is_dropped[unused]]
        return int(self.cached.counters[WASTED_BYTES] + timeline.tasks.num_bytes[copied].sum())


def live_job(
    policy: Policy,
    residency: Residency,
    foresight: Foresight,
    decisions: Decisions,
    *,
    is_foreseen: bool = True,
    room: Room = OWN_MEMORY,
) -> LiveJob:
    """Prepare a live run; its gates fill in ``decisions.actions``.

    Unless ``is_foreseen``, gates may select other experts than foreseen. Then there is room and a
    price for any selection.
    """
    problem = foresight.problem
    passes = foresight.passes
    tokens = foresight.tokens
    most_tokens = (
        int(tokens.max(initial=0)) if is_foreseen else int(passes.num_tokens.max(initial=0))
    )
    # A predictor may expect more of an expert than its gate then gives it.
    predictions = predicted(policy.prefetch, foresight)
    most_tokens = max(most_tokens, int(predictions.expected.max(initial=0)))
    prices = price(problem, passes, decisions.modes, decisions.head_modes, most_tokens)
    live = fresh_live(policy, problem, predictions, tokens.shape, passes, most_tokens)
    gpus = problem.num_gpus
    num_gates = tokens.shape[0] * tokens.shape[1]
    num_runs = (
        int(np.count_nonzero(tokens))
        if is_foreseen and not problem.overlap.loads_all
        else tokens.size
    )
    per_gate = MAX_TASKS_PER_GATE + MAX_TASKS_PER_PEER * (gpus - 1)
    num_tasks = 3 * num_runs + num_gates * per_gate + MAX_TASKS_PER_PASS * len(tokens)
    num_tasks += (
        most_queued(predictions, tokens.shape)
        if live.rules[0]["pauses_on_miss"]
        else len(predictions.candidates)
    )
    num_tasks += int(np.count_nonzero(predictions.expected))
    num_resources = len(with_peers(LIVE_RESOURCES, gpus))
    if decisions.shelf is not None:
        num_tasks *= 2  # a read before each copy
    draft = fresh_draft(
        problem,
        sheet_of(problem, passes, tokens, decisions, (prices, num_resources)),
        num_tasks,
        num_awaited=gpus if live.rules[0]["is_copy_awaited"] else 0,
        num_copies=MAX_COPIES_AWAITED,
        room=room,
    )
    return LiveJob(
        platform=platform(problem.machine, resources_of(problem, decisions, LIVE_RESOURCES)),
        draft=draft,
        cached=fresh_cache(policy, residency, predictions, foresight),
        live=live,
        room=room,
        learnt=predictions.learnt,
    )


def process(job: LiveJob, session: Session) -> Generator[Wait, None, None]:
    """Run the policy of a live job on any engine's session, yielding at every gate."""
    draft = job.draft
    sheet = draft.sheet
    num_layers = sheet.work.shape[1]
    submitted = 0
    for index in range(len(sheet.passes)):
        draft.state[IS_SERIAL] = sheet.passes[index]["is_serial"]
        draft.state[STEP] = sheet.passes[index]["step"]
        start = sheet.work.size + index  # behind the gates, as ``start_of_pass`` says
        # Only where something is named is there anything to decide before the first gate.
        if job.live.first[start] < job.live.first[start + 1]:
            last = int(draft.last_task[index - 1]) if index else NONE
            if index:
                submitted = submit(draft, submitted, session)
                yield (last,)
                _note_copies(job.cached, session)
            _emit_start_of_pass(draft, job.cached, job.live, last, index)
            _operate(job, session)
        for layer in range(num_layers):
            now = Moment(index, layer, index * num_layers + layer)
            gate = _emit_to_gate(draft, now)
            if gate == NONE:
                continue
            submitted = submit(draft, submitted, session)
            yield (int(gate),)
            _note_copies(job.cached, session)
            _emit_after_gate(draft, job.cached, job.live, now, gate)
            _operate(job, session)
        _emit_end_of_pass(draft, job.live, index)
    submit(draft, submitted, session)


def _note_copies(cached: Cached, session: Session) -> None:
    """Note which awaited copies have arrived, and which have started and when."""
    cached.counters[NOW_NS] = session.now_ns
    num_experts = cached.slots.shape[1]
    for code in cached.coming[: cached.counters[NUM_COMING]].tolist():
        slot = cached.slots[code // num_experts, code % num_experts]
        number = int(slot["copy"])
        if session.is_done(number):
            cached.slots["phase"][code // num_experts, code % num_experts] = ARRIVED
        elif session.is_started(number):
            cached.slots["phase"][code // num_experts, code % num_experts] = STARTED
            cached.slots["started_ns"][code // num_experts, code % num_experts] = (
                session.started_ns(number)
            )


def _operate(job: LiveJob, session: Session) -> None:
    for task, operation in job.live.operations[: job.cached.counters[NUM_OPERATIONS]].tolist():
        if operation == PROMOTE:
            session.promote(task, 0)
        else:
            assert operation == DROP
            session.drop(task)
