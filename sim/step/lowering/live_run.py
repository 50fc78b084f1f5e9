"""Running a policy whose residency changes with time, on any engine."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.engine.compilation import by_itself
from sim.engine.program import Platform, Session, Wait
from sim.engine.task import NONE, Discipline, Resource
from sim.engine.timeline import Timeline
from sim.policies.base import CANDIDATE, Cache, Foresight, Predictions, Prefetch
from sim.policies.cache.score import Score
from sim.policies.dispatch.rule import Rule
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.policies.shares import gate_shares
from sim.step.lowering.decisions import Decisions, beliefs, surroundings
from sim.step.lowering.live import (
    MATCHER,
    RULES,
    Live,
    emit_after_gate,
    emit_end_of_pass,
    emit_start_of_pass,
    emit_to_gate,
    start_of_pass,
)
from sim.step.lowering.lower import (
    MATCHER_RESOURCE,
    RESOURCES,
    columns,
    fresh_state,
    platform,
    resources_of,
    rings_of,
    sheet_of,
    table,
    with_peers,
)
from sim.step.lowering.operations import DROP, PROMOTE
from sim.step.lowering.prices import price
from sim.step.lowering.sheet import (
    H2D,
    IS_SERIAL,
    STEP,
    Columns,
    N,
    Sheet,
)
from sim.step.lowering.slots import (
    ABSENT,
    ARRIVED,
    HELD,
    NOW_NS,
    NUM_COMING,
    NUM_COUNTERS,
    NUM_OPERATIONS,
    RANDOM_STATE,
    REACH,
    SERVED,
    SLOT,
    STARTED,
    WASTED_BYTES,
    Cached,
    held_of,
)
from sim.step.rules.spilling import BUFFERS, ROOM
from sim.workload.batch import Passes

LIVE_RESOURCES = (
    *RESOURCES[:H2D],
    Resource(name=RESOURCES[H2D].name, discipline=Discipline.PRIORITY),
    *RESOURCES[H2D + 1 :],
    MATCHER_RESOURCE,
)
"""As RESOURCES, but copies to the GPU go by priority, and predictions are looked up aside."""
assert LIVE_RESOURCES[MATCHER].name == "matcher"

_emit_start_of_pass = by_itself(emit_start_of_pass)
_emit_to_gate = by_itself(emit_to_gate)
_emit_after_gate = by_itself(emit_after_gate)
_emit_end_of_pass = by_itself(emit_end_of_pass)

MAX_TASKS_PER_GATE = 10
MAX_TASKS_PER_PASS = 6
NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveJob:
    """Everything a live run works on: read by both drivers, changed by the one that runs it."""

    platform: Platform
    out: Columns
    state: NDArray[np.int64]
    sheet: Sheet
    cached: Cached
    live: Live
    rings: tuple[NDArray[np.int64], NDArray[np.int64]]
    last_task: NDArray[np.int64]

    @property
    def spilled(self) -> NDArray[np.bool_] | None:
        """As in Decisions, once the run has ended."""
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
) -> LiveJob:
    """Set a live run up; ``decisions.actions`` is filled in as it goes.

    Unless ``is_foreseen``, the tokens of a gate may turn out others than foreseen: there is room
    and a price for any.
    """
    problem = foresight.problem
    passes = foresight.passes
    tokens = foresight.tokens
    most_tokens = (
        int(tokens.max(initial=0)) if is_foreseen else int(passes.num_tokens.max(initial=0))
    )
    predictions = _predicted(policy.prefetch, foresight)
    most_tokens = max(most_tokens, int(predictions.expected.max(initial=0)))
    prices = price(problem, passes, decisions.modes, decisions.head_modes, most_tokens)
    live = _live(policy, problem, predictions, tokens.shape, passes, most_tokens)
    gpus = problem.num_gpus
    num_gates = tokens.shape[0] * tokens.shape[1]
    num_runs = (
        int(np.count_nonzero(tokens))
        if is_foreseen and not problem.overlap.loads_all
        else tokens.size
    )
    num_tasks = 3 * num_runs + num_gates * MAX_TASKS_PER_GATE + MAX_TASKS_PER_PASS * len(tokens)
    num_tasks += (
        _most_queued(predictions, tokens.shape)
        if live.rules[0]["pauses_on_miss"]
        else len(predictions.candidates)
    )
    num_tasks += int(np.count_nonzero(predictions.expected))
    num_resources = len(with_peers(LIVE_RESOURCES, gpus))
    if decisions.shelf is not None:
        num_tasks *= 2  # a read before each copy
    return LiveJob(
        platform=platform(problem.machine, resources_of(problem, decisions, LIVE_RESOURCES)),
        out=columns(num_tasks, num_gpus=gpus + 1),
        state=fresh_state(gpus, gpus if live.rules[0]["is_copy_awaited"] else 0),
        sheet=sheet_of(problem, passes, tokens, decisions, prices, num_resources),
        cached=_cached(policy.cache, residency, predictions, foresight),
        live=live,
        rings=rings_of(problem),
        last_task=np.zeros(len(passes), np.int64),
    )


def process(job: LiveJob, session: Session) -> Generator[Wait, None, None]:
    """The policy at work, for any engine's session."""
    sheet = job.sheet
    state = job.state
    out = job.out
    submitted = 0
    for index in range(len(sheet.passes)):
        state[IS_SERIAL], state[STEP] = (
            sheet.passes[index]["is_serial"],
            sheet.passes[index]["step"],
        )
        start = start_of_pass(sheet, index)
        if job.live.first[start] < job.live.first[start + 1]:
            last = int(job.last_task[index - 1]) if index else NONE
            if index:
                session.submit(table(out, submitted, int(state[N])))
                submitted = int(state[N])
                yield (last,)
                _note_copies(job.cached, session)
            _emit_start_of_pass(out, state, sheet, job.cached, job.live, last, index)
            _operate(job, session)
        for layer in range(sheet.work.shape[1]):
            gate = _emit_to_gate(out, state, sheet, index, layer)
            if gate == NONE:
                continue
            session.submit(table(out, submitted, int(state[N])))
            submitted = int(state[N])
            yield (int(gate),)
            _note_copies(job.cached, session)
            _emit_after_gate(
                out, state, sheet, job.cached, job.live, job.rings[0], index, layer, gate
            )
            _operate(job, session)
        _emit_end_of_pass(out, state, sheet, job.live, job.rings, job.last_task, index)
    session.submit(table(out, submitted, int(state[N])))


def _note_copies(cached: Cached, session: Session) -> None:
    """Which of the awaited copies have started, and when, or arrived."""
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


def _most_queued(predictions: Predictions, shape: tuple[int, ...]) -> int:
    """How often prefetches are queued at most: each once at every gate from the one that names it
    to the one it is for.
    """
    num_gates = shape[0] * shape[1]
    named_at = np.repeat(np.arange(len(predictions.first) - 1), np.diff(predictions.first))
    layer = predictions.candidates["layer"].astype(np.int64)
    named_at = np.where(
        named_at < num_gates, named_at, (named_at - num_gates) * shape[1] - 1
    )  # the start of a pass
    return int((1 + (layer - named_at - 1) % shape[1]).sum()) + len(layer)


def _predicted(prefetch: Prefetch, foresight: Foresight) -> Predictions:
    if not prefetch.is_active:
        num_gates = foresight.tokens.shape[0] * foresight.tokens.shape[1]
        return Predictions(
            first=np.zeros(num_gates + 1, np.int64), candidates=np.empty(0, CANDIDATE)
        )
    return (
        foresight.once(prefetch, lambda: prefetch.predict(foresight))
        if prefetch.is_of_draw
        else prefetch.predict(foresight)
    )


def _cached(
    cache: Cache, residency: Residency, predictions: Predictions, foresight: Foresight
) -> Cached:
    shape = residency.experts.shape
    slots = np.zeros(shape, SLOT)
    slots["status"] = np.where(residency.experts, HELD, 0)
    for name in ("copy", "looked_up", "freed_by", "last_use", "pinned_at", "used_at"):
        slots[name] = NONE
    free = np.zeros((shape[0] + 1, foresight.problem.num_gpus), np.int64)
    if cache.is_emptied or cache.starts_empty:
        slots["status"] = ABSENT
        layers, experts = np.nonzero(residency.experts)
        np.add.at(
            free,
            (
                shape[0] if cache.is_global else layers,
                foresight.problem.gpu_of_expert[layers, experts],
            ),
            1,
        )
    counters = np.zeros(NUM_COUNTERS, np.int64)
    counters[RANDOM_STATE] = foresight.seed * 2 + 1
    counters[REACH] = predictions.reach
    counters[SERVED] = NONE
    return Cached(
        slots=slots,
        scores=np.zeros(shape),
        free=free.ravel(),
        coming=np.zeros(slots.size, np.int64),
        counters=counters,
        forecast=_known(foresight) if predictions.forecast is None else predictions.forecast,
        gates=gate_shares(foresight)
        if cache.score in (Score.SMOOTHED_GATE, Score.SELECTIVE_GATE)
        else np.zeros((0, 0, 0), np.float32),
        next_use=next_uses(foresight.tokens)
        if cache.score is Score.NEXT_USE
        else np.zeros((0, 0, 0), np.int32),
        **held_of(slots, is_global=cache.is_global),
    )


def _known(foresight: Foresight) -> NDArray[np.float32]:
    """The forecast of a run without a predictor: the popularity."""
    shape = (len(foresight.passes) + 1, *foresight.problem.popularity.shape)
    return np.ascontiguousarray(
        np.broadcast_to(foresight.problem.popularity.astype(np.float32), shape)
    )


def next_uses(tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """The first pass from each pass on that selects an expert [pass + 1, layer, expert]; the number
    of passes where none does.
    """
    num_passes = len(tokens)
    following = np.full((num_passes + 1, *tokens.shape[1:]), num_passes, np.int32)
    for index in range(num_passes - 1, -1, -1):
        following[index] = np.where(tokens[index] > 0, index, following[index + 1])
    return following


def _rules(policy: Policy, problem: Problem) -> NDArray[np.void]:
    """What the parts say of a run, as compiled code reads it.

    Raises InputError for what does not go together.
    """
    cache = policy.cache
    prefetch = policy.prefetch
    rules = np.zeros(1, RULES)
    score = Score.RECENCY if cache.score is None else cache.score
    values = {
        "dispatch": int(policy.dispatch.rule),
        "score": int(score),
        "is_global": cache.is_global,
        "alpha": cache.smoothing[0],
        "kept": cache.smoothing[1] * problem.model.top_k,
        "writes_back": cache.writes_back,
        "drops_stale": prefetch.drops_stale,
        "num_chunks": prefetch.num_chunks,
        "max_waiting": NO_LIMIT
        if prefetch.max_waiting is None
        else prefetch.max_waiting * problem.num_gpus,
        "lookup_ns": prefetch.lookup_ns,
        "is_lookup_awaited": prefetch.is_lookup_awaited,
        "is_copy_awaited": prefetch.is_copy_awaited,
        "pauses_on_miss": prefetch.pauses_on_miss and problem.num_gpus > 1,
        "update_ns": prefetch.update_ns,
        "copies_in_turn": prefetch.copies_in_turn,
        "in_turn": problem.overlap.in_turn,
        "loads_all": problem.overlap.loads_all,
        "is_emptied": cache.is_emptied,
    }
    for name, value in values.items():
        rules[name] = value
    if rules[0]["pauses_on_miss"] and not rules[0]["drops_stale"]:
        raise InputError(f"{policy.name}: drops_stale must be true where a miss pauses prefetching")
    return rules


def _live(
    policy: Policy,
    problem: Problem,
    predictions: Predictions,
    shape: tuple[int, ...],
    passes: Passes,
    most_tokens: int,
) -> Live:
    num_experts = shape[2]
    num_gates = shape[0] * shape[1]
    spills = policy.dispatch.rule == Rule.SPILL
    fixed = surroundings(policy, problem, passes.num_tokens).fixed
    fixed[BUFFERS] = num_experts  # each copy has a slot of its own
    missing = num_gates + shape[0] + 1 - len(predictions.first)
    believed = beliefs(
        problem, policy.dispatch, most_tokens, is_weighed=len(predictions.chances) > 0
    )
    num_shapes = believed.shape[1]
    most_alike = (
        problem.model.top_k + 1 if spills else 0
    )  # a lone token selects no more, nor is more foreseen
    return Live(
        rules=_rules(policy, problem),
        first=np.append(predictions.first, np.full(missing, len(predictions.candidates))),
        candidates=predictions.candidates,
        believed=believed,
        operations=np.zeros((shape[1] * num_experts + 1, 2), np.int64),
        on_demand=np.full(problem.num_gpus, NONE),
        turn=np.full(1, NONE),
        fixed=fixed,
        spilled=np.zeros(shape if spills else (0, 0, 0), np.bool_),
        is_miss=np.zeros(num_experts, np.bool_),
        is_held=np.zeros(num_experts, np.bool_),
        copies=np.zeros(num_experts, np.int64),
        priced=np.zeros((3, num_experts), np.int64),
        room=np.empty((ROOM, num_experts), np.int64),
        asked=np.zeros(num_experts + 1, np.int64),
        num_asked=np.zeros(1, np.int64),
        plan=np.zeros(num_experts, np.uint8),
        cases=np.zeros((num_shapes, 4), np.int64),
        notes=np.zeros((num_shapes, most_alike, most_alike, 3), np.int64),
        named=np.zeros((len(predictions.chances), num_experts + 1), np.int64),
        num_named=np.zeros(len(predictions.chances), np.int64),
        due=np.zeros((len(predictions.chances), num_experts), np.int64),
        needs=np.zeros(2 * len(predictions.chances) + 1, np.int64),
        expected=predictions.expected,
        chances=predictions.chances,
    )
