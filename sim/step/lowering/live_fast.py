"""The live driver of the fast engine: decisions and event loop in one compiled run, task for task
what ``live_run.process`` does.
"""

import numpy as np

from sim.engine.compilation import allocating_kernel, allocating_part, part
from sim.engine.fast import active_factors, idle_lanes, refuse_late
from sim.engine.kernels import admit, drop, promote, run
from sim.engine.state import AWAITED, BUSY, DONE, DROPPED, END, ENTRY, FINISHED, NOW, START, TASK
from sim.engine.state import STARTED as RUNNING
from sim.engine.task import NONE, Discipline
from sim.engine.timeline import Timeline
from sim.step.lowering.live import (
    emit_after_gate,
    emit_end_of_pass,
    emit_start_of_pass,
    emit_to_gate,
    start_of_pass,
)
from sim.step.lowering.live_run import LiveJob
from sim.step.lowering.lower import table
from sim.step.lowering.operations import PROMOTE
from sim.step.lowering.sheet import (
    IS_SERIAL,
    STEP,
    N,
)
from sim.step.lowering.slots import ARRIVED, NOW_NS, NUM_COMING, NUM_OPERATIONS, STARTED

_NONE = NONE
CLOCK_SIZE = 5


def run_live(job: LiveJob) -> Timeline:
    """Run a job to its end. Raises InputError when it would outlast the clock."""
    room = len(job.out.rows)
    tasks = np.empty(room, TASK)
    times = np.empty((3, room), np.int64)
    lanes = idle_lanes(job.platform)
    is_priority = np.array(
        [resource.discipline is Discipline.PRIORITY for resource in job.platform.resources]
    )
    lanes["heap_base"] = (np.cumsum(is_priority) - is_priority) * room
    heap = np.empty(room * max(1, int(is_priority.sum())), ENTRY)
    clock = np.zeros(CLOCK_SIZE, np.int64)
    factors = active_factors(job.platform)
    outcome = _drive(
        job.out,
        job.state,
        job.sheet,
        job.cached,
        job.live,
        job.rings,
        job.last_task,
        tasks,
        times,
        lanes,
        heap,
        clock,
        factors,
    )
    if outcome != FINISHED:
        refuse_late(int(lanes["due"].min()))
    num_tasks = int(job.state[N])
    return Timeline(
        platform=job.platform,
        tasks=table(job.out, 0, num_tasks),
        start_ns=times[START, :num_tasks],
        end_ns=times[END, :num_tasks],
        busy_ns=times[BUSY, :num_tasks],
        is_dropped=tasks["state"][:num_tasks] == DROPPED,
    )


@part
def _note_copies(cached, tasks, times, clock):
    """Which of the awaited copies have started, and when, or arrived."""
    cached.counters[NOW_NS] = clock[NOW]
    num_experts = cached.slots.shape[1]
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        slot = cached.slots[code // num_experts, code % num_experts]
        state = tasks[slot.copy].state
        if state >= DONE:
            slot.phase = ARRIVED
        elif state == RUNNING:
            slot.phase = STARTED
            slot.started_ns = times[START, slot.copy]


@allocating_part
def _submit(out, first, end, offsets, tasks, times, lanes, heap, clock):
    """Give the engine the tasks emitted from number ``first`` on."""
    before = out.rows[first - 1].end_of_dependencies if first > 0 else 0
    offsets[0] = 0
    for number in range(first, end):
        offsets[number - first + 1] = out.rows[number].end_of_dependencies - before
    rows = out.rows[first:end]
    admit(
        rows["resource"],
        rows["duration_ns"],
        rows["priority"],
        rows["num_chunks"],
        offsets[: end - first + 1],
        offsets[end - first],
        tasks,
        times,
        out.dependencies,
        lanes,
        heap,
        clock,
    )


@part
def _operate(tasks, times, out, lanes, heap, clock, cached, live):
    """Promote and drop what the gate asks for."""
    for place in range(cached.counters[NUM_OPERATIONS]):
        task = live.operations[place, 0]
        operation = live.operations[place, 1]
        if operation == PROMOTE:
            promote(tasks, lanes, heap, clock, task, 0)
        else:
            drop(tasks, times, out.dependencies, lanes, heap, clock, task)


@allocating_kernel
def _drive(
    out, state, sheet, cached, live, rings, last_task, tasks, times, lanes, heap, clock, factors
):
    """All passes; returns why the engine stopped."""
    submitted = 0
    wait = np.zeros(1, np.int64)
    offsets = np.zeros(len(out.rows) + 1, np.int64)
    for index in range(len(sheet.passes)):
        state[IS_SERIAL], state[STEP] = sheet.passes[index].is_serial, sheet.passes[index].step
        start = start_of_pass(sheet, index)
        if live.first[start] < live.first[start + 1]:
            wait[0] = last_task[index - 1] if index > 0 else _NONE
            if index > 0:
                _submit(out, submitted, state[N], offsets, tasks, times, lanes, heap, clock)
                submitted = state[N]
                outcome = run(tasks, times, out.dependencies, lanes, heap, factors, clock, wait)
                if outcome != AWAITED:
                    return outcome
                _note_copies(cached, tasks, times, clock)
            emit_start_of_pass(out, state, sheet, cached, live, wait[0], index)
            _operate(tasks, times, out, lanes, heap, clock, cached, live)
        for layer in range(sheet.work.shape[1]):
            gate = emit_to_gate(out, state, sheet, index, layer)
            if gate == _NONE:
                continue
            _submit(out, submitted, state[N], offsets, tasks, times, lanes, heap, clock)
            submitted = state[N]
            wait[0] = gate
            outcome = run(tasks, times, out.dependencies, lanes, heap, factors, clock, wait)
            if outcome != AWAITED:
                return outcome
            _note_copies(cached, tasks, times, clock)
            emit_after_gate(out, state, sheet, cached, live, rings[0], index, layer, gate)
            _operate(tasks, times, out, lanes, heap, clock, cached, live)
        emit_end_of_pass(out, state, sheet, live, rings, last_task, index)
    _submit(out, submitted, state[N], offsets, tasks, times, lanes, heap, clock)
    return run(tasks, times, out.dependencies, lanes, heap, factors, clock, wait[:0])
