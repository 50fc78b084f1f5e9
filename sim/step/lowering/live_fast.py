"""The live driver of the fast engine: decisions and event loop in one compiled run.

It emits the same tasks as ``live_run.process``.
"""

import numpy as np

from sim.engine.compilation import allocating_kernel, allocating_part, inner, part
from sim.engine.fast import refuse_late
from sim.engine.kernels import admit, drop, promote, run
from sim.engine.state import AWAITED, DONE, FINISHED, NOW, START, EngineColumns
from sim.engine.state import STARTED as RUNNING
from sim.engine.task import NONE
from sim.engine.timeline import Timeline
from sim.step.lowering.draft import N, begin_pass, moment_of, start_of_pass
from sim.step.lowering.job import fresh_rows, timeline_of
from sim.step.lowering.live import (
    emit_after_gate,
    emit_end_of_pass,
    emit_start_of_pass,
    emit_to_gate,
)
from sim.step.lowering.live_run import LiveJob
from sim.step.lowering.operations import PROMOTE
from sim.step.lowering.slots import ARRIVED, NOW_NS, NUM_COMING, NUM_OPERATIONS, STARTED

_NONE = NONE
SUBMITTED, LAST, IS_OPEN = range(3)
"""Places in what ``drive`` is told about a border.

SUBMITTED is the number of tasks that the engine has already. LAST is the task that ended the pass
before (NONE: there is none). IS_OPEN says whether further passes are driven later.
"""


def run_live(job: LiveJob) -> Timeline:
    """Run a job to its end. Raises InputError when it would outlast the clock."""
    rows = fresh_rows(job)
    outcome = drive(job.draft, job.cached, job.live, rows, np.array([0, NONE, 0]))
    if outcome != FINISHED:
        refuse_late(int(rows.lanes["due"].min()))
    return timeline_of(job, rows, 0, int(job.draft.state[N]))


@inner
def _note_copies(cached, rows):
    """Note which awaited copies have arrived, and which have started and when."""
    cached.counters[NOW_NS] = rows.clock[NOW]
    if cached.counters[NUM_COMING] > 0:
        _look_at_copies(cached, rows)


@part
def _look_at_copies(cached, rows):
    """Do what ``_note_copies`` does, where any copy is awaited."""
    num_experts = cached.slots.shape[1]
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        slot = cached.slots[code // num_experts, code % num_experts]
        state = rows.tasks[slot.copy].state
        if state >= DONE:
            slot.phase = ARRIVED
        elif state == RUNNING:
            slot.phase = STARTED
            slot.started_ns = rows.times[START, slot.copy]


@inner
def _submit(draft, first, offsets, rows):
    """Submit the tasks emitted from number ``first`` on; return how many are submitted by now."""
    return _admit_from(draft.rows, draft.dependencies, draft.state[N], first, offsets, rows)


@allocating_part
def _admit_from(emitted, dependencies, end, first, offsets, rows):
    """Do what ``_submit`` does, given the three parts of the draft that it looks at."""
    # Not the draft: a call passes each of its arrays as seven words and more, which took a fifth of
    # a live run's time.
    before = emitted[first - 1].end_of_dependencies if first > 0 else 0
    offsets[0] = 0
    for number in range(first, end):
        offsets[number - first + 1] = emitted[number].end_of_dependencies - before
    fresh = emitted[first:end]
    columns = EngineColumns(
        fresh["resource"],
        fresh["duration_ns"],
        fresh["priority"],
        fresh["num_chunks"],
        offsets[: end - first + 1],
        dependencies[before : before + offsets[end - first]],
    )
    admit(columns, rows)
    return end


@part
def _operate(cached, live, rows):
    """Promote and drop the tasks that the gate asks for."""
    for place in range(cached.counters[NUM_OPERATIONS]):
        task = live.operations[place, 0]
        operation = live.operations[place, 1]
        if operation == PROMOTE:
            promote(rows, task, 0)
        else:
            drop(rows, task)


@allocating_kernel
def drive(draft, cached, live, rows, border):
    """Drive all passes of a draft; return why the engine stopped.

    ``border`` holds SUBMITTED, LAST and IS_OPEN; SUBMITTED is updated.
    """
    sheet = draft.sheet
    submitted = border[SUBMITTED]
    wait = np.zeros(1, np.int64)
    # Each submission fills what it reads, which is little of what there is room for.
    offsets = np.empty(len(draft.rows) + 1, np.int64)
    for index in range(len(sheet.passes)):
        begin_pass(draft, index)
        start = start_of_pass(sheet, index).stamp
        # Only where something is named is there anything to decide before the first gate.
        if live.first[start] < live.first[start + 1]:
            wait[0] = draft.last_task[index - 1] if index > 0 else border[LAST]
            if wait[0] != _NONE:
                submitted = _submit(draft, submitted, offsets, rows)
                outcome = run(rows, wait)
                if outcome != AWAITED:
                    return outcome
                _note_copies(cached, rows)
            emit_start_of_pass(draft, cached, live, wait[0], index)
            if cached.counters[NUM_OPERATIONS] > 0:
                _operate(cached, live, rows)
        for layer in range(sheet.work.shape[1]):
            now = moment_of(sheet, index, layer)
            gate = emit_to_gate(draft, now)
            if gate == _NONE:
                continue
            submitted = _submit(draft, submitted, offsets, rows)
            wait[0] = gate
            outcome = run(rows, wait)
            if outcome != AWAITED:
                return outcome
            _note_copies(cached, rows)
            emit_after_gate(draft, cached, live, now, gate)
            if cached.counters[NUM_OPERATIONS] > 0:
                _operate(cached, live, rows)
        emit_end_of_pass(draft, live, index)
    border[SUBMITTED] = submitted
    # What the last gate set off goes on while the next pass begins, so nothing is waited for here.
    if border[IS_OPEN] != 0:
        return AWAITED
    _submit(draft, submitted, offsets, rows)
    return run(rows, wait[:0])
