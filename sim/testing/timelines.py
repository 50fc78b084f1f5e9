"""Checks of a run's timeline, whatever was decided.

They are part of the conformance kit in ``sim.testing``.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import Discipline, TaskKind
from sim.policies.actions import Action
from sim.step.simulate import Run
from sim.testing.pipelined import check_groups, check_pages, is_pipelined


def check_timeline(run: Run) -> None:
    """Check that dependencies hold, and that a resource runs one task at a time.

    Also check that busy and idle time add up, and that nothing beats a lower bound.
    """
    line = run.timeline
    tasks = line.tasks
    start = line.start_ns
    end = line.end_ns
    # The critical path: no schedule, on whatever resources, is shorter.
    earliest = np.zeros(len(tasks), np.int64)
    for number in range(len(tasks)):
        if line.is_dropped[number]:
            continue
        waits = tasks.dependencies[
            tasks.dependency_offsets[number] : tasks.dependency_offsets[number + 1]
        ]
        assert (waits < number).all() and (end[waits] <= start[number]).all(), (
            f"task {number} starts before what it waits for"
        )
        earliest[number] = earliest[waits].max(initial=0) + tasks.duration_ns[number]
    assert line.makespan_ns >= earliest.max(initial=0), "shorter than the critical path"
    busy = line.busy_by_resource_ns()
    for index, resource in enumerate(line.platform.resources):
        own = np.flatnonzero(tasks.resource == index)
        own = own[~line.is_dropped[own]]
        if resource.discipline is Discipline.PRIORITY:
            own = own[np.lexsort((own, start[own]))]
        # A task of several chunks may be interrupted, so that its span covers others.
        whole = own[tasks.num_chunks[own] == 1]
        assert (start[whole][1:] >= end[whole][:-1]).all(), (
            f"{resource.name}: two tasks at once, or out of order"
        )
        reached = np.maximum.accumulate(np.append(0, end[own]))
        covered = int(np.maximum(reached[1:] - np.maximum(start[own], reached[:-1]), 0).sum())
        assert busy[resource.name] == covered, (
            f"{resource.name}: busy {busy[resource.name]} ns, its tasks cover {covered}"
        )


def check_order(run: Run) -> None:
    """Check that a layer waits for all of the layer before, and experts for their gate.

    Also check that CPU experts wait for the activations that they work on. Pipelined layers wait
    micro-batch by micro-batch, so only their steps are in order.
    """
    line = run.timeline
    tasks = run.timeline.tasks
    if is_pipelined(run):
        check_groups(run)
    else:
        _check_joins(run)
    is_expert = np.isin(tasks.kind, (TaskKind.EXPERT, TaskKind.SHARED_EXPERT))
    gated = _last_end(line.end_ns, tasks.kind == TaskKind.GATE)
    assert (line.start_ns >= gated)[is_expert].all(), "an expert runs before its gate"
    on_cpu = is_expert & (tasks.resource == line.platform.index("cpu"))
    sent = _last_end(
        line.end_ns,
        (tasks.kind == TaskKind.ACTIVATION_COPY) & (tasks.resource == line.platform.index("d2h")),
    )
    assert (line.start_ns >= sent)[on_cpu].all(), (
        "a CPU expert runs before its activations are there"
    )


def _check_joins(run: Run) -> None:
    line = run.timeline
    tasks = run.timeline.tasks
    is_carried = carried_tasks(run)
    aside = (TaskKind.LAYER_FETCH, TaskKind.PREFETCH, TaskKind.EARLY_FETCH, TaskKind.LOOKUP)
    # Copies ahead and carried experts are those that a layer need not wait for.
    is_ahead = np.isin(tasks.kind, aside) | is_carried
    before = np.append(0, np.maximum.accumulate(np.where(is_ahead, 0, line.end_ns)))[:-1]
    is_join = np.isin(tasks.kind, (TaskKind.ATTENTION, TaskKind.HEAD))
    late = np.flatnonzero(is_join & (line.start_ns < before))
    assert not late.size, f"task {late[:1]}: a layer starts before the one before it has ended"
    joins = np.flatnonzero(is_join)
    for task in np.flatnonzero(is_carried).tolist():
        joined = joins[np.searchsorted(joins, task) + 1]
        assert line.end_ns[task] <= line.start_ns[joined], (
            f"task {task}: carried beyond the layer that joins it"
        )


def carried_tasks(run: Run) -> NDArray[np.bool_]:
    """Return which tasks carry experts from one layer to the next [task].

    These are the experts that start in one layer and are joined in the next. The copies of
    activations to them and the calls of their groups count, too.
    """
    tasks = run.timeline.tasks
    first = np.searchsorted(
        run.passes.step, tasks.step
    )  # only decode steps carry; where one has several passes, any of them may
    last = np.searchsorted(run.passes.step, tasks.step, side="right")
    found = np.zeros(len(tasks), bool)
    for task in np.flatnonzero(tasks.kind == TaskKind.EXPERT).tolist():
        actions = run.decisions.actions[
            first[task] : last[task], tasks.layer[task], tasks.expert[task]
        ]
        if np.isin(actions, (Action.DEFERRED, Action.AHEAD)).any():
            waits = tasks.dependencies[
                tasks.dependency_offsets[task] : tasks.dependency_offsets[task + 1]
            ]
            found[[task, *waits[tasks.kind[waits] == TaskKind.ACTIVATION_COPY]]] = True
            called = (
                tasks.kind[task - 1] == TaskKind.OVERHEAD
                and tasks.resource[task - 1] == tasks.resource[task]
            )
            found[task - 1] |= called  # a group's call
    return found


def _last_end(end_ns: NDArray[np.int64], is_marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For every task, the end of the last marked one at or before it in sequence; 0 for none."""
    last = np.maximum.accumulate(np.where(is_marked, np.arange(len(end_ns)), -1))
    return np.where(last >= 0, end_ns[last], 0)


def check_serial(run: Run) -> None:
    """Check that no two tasks of a serial pass run at once, on any resources."""
    is_serial = run.scenario.policy.overlap.is_serial(run.passes.is_prefill)
    is_aside = np.isin(run.timeline.tasks.kind, (TaskKind.PREFETCH, TaskKind.LOOKUP))
    tasks = np.flatnonzero(np.isin(run.timeline.tasks.step, run.passes.step[is_serial]) & ~is_aside)
    order = tasks[np.argsort(run.timeline.start_ns[tasks], kind="stable")]
    assert (run.timeline.start_ns[order][1:] >= run.timeline.end_ns[order][:-1]).all(), (
        "two tasks at once in a serial pass"
    )


def check_copies(run: Run) -> None:
    """Check that a copy starts after its gate and ends before its uses start.

    Also check that no more copies are in use at once than there are buffers.
    """
    overlap = run.scenario.policy.overlap
    check_pages(run)
    for _ in _spans(run, TaskKind.SLOT_FETCH):
        pass  # a span asserts what holds of it as it is made; slots have no count of buffers
    for kind, buffers in (
        (TaskKind.FETCH, overlap.staging_experts),
        (TaskKind.LAYER_FETCH, overlap.staging_layers),
    ):
        spans = [*_spans(run, kind), *(_early_spans(run) if kind == TaskKind.FETCH else ())]
        # At one instant an end comes first: a buffer may be taken as it is freed.
        instants = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
        most = int(np.cumsum([change for _, change in instants]).max(initial=0))
        assert most <= buffers, (
            f"{most} copies of kind {kind.name} in use at once, with {buffers} buffers"
        )


def _early_spans(run: Run) -> Iterator[tuple[int, int]]:
    """Yield the start of every early copy, and its end of use.

    This is the end of the next run of the expert if no other copy comes before, else the copy's
    end.
    """
    line = run.timeline
    tasks = line.tasks
    gpu = line.platform.index("gpu")
    for copy in np.flatnonzero(tasks.kind == TaskKind.EARLY_FETCH).tolist():
        same = np.flatnonzero(
            (tasks.layer == tasks.layer[copy]) & (tasks.expert == tasks.expert[copy])
        )
        later = same[same > copy]
        is_run = (
            later.size > 0
            and tasks.kind[later[0]] == TaskKind.EXPERT
            and tasks.resource[later[0]] == gpu
        )
        if is_run:
            assert line.start_ns[later[0]] >= line.end_ns[copy], (
                f"task {later[0]}: runs before its early copy has ended"
            )
        yield int(line.start_ns[copy]), int(line.end_ns[later[0] if is_run else copy])


def _spans(run: Run, kind: TaskKind) -> Iterator[tuple[int, int]]:
    """Yield the start of every copy of that kind, and the end of its last use in its pass.

    Check that each copy is used, and not before its end.
    """
    line = run.timeline
    tasks = line.tasks
    gpu = line.platform.index("gpu")
    same_step = np.append(np.flatnonzero(np.diff(tasks.step)) + 1, len(tasks))
    for copy in np.flatnonzero(tasks.kind == kind).tolist():
        layer = tasks.layer[copy]
        expert = tasks.expert[copy]
        until = int(same_step[np.searchsorted(same_step, copy, side="right")])
        later = np.arange(copy + 1, until)
        is_copy = np.isin(tasks.kind[later], (kind, TaskKind.EARLY_FETCH))
        again = np.flatnonzero(
            is_copy & (tasks.layer[later] == layer) & (tasks.expert[later] == expert)
        )
        # The next copy of the expert serves what comes behind it.
        later = later[: again[0]] if again.size else later
        uses = later[(tasks.resource[later] == gpu) & (tasks.layer[later] == layer)]
        if kind != TaskKind.LAYER_FETCH:
            uses = uses[(tasks.kind[uses] == TaskKind.EXPERT) & (tasks.expert[uses] == expert)]
            gates = np.flatnonzero(
                (tasks.kind[:copy] == TaskKind.GATE) & (tasks.layer[:copy] == layer)
            )
            assert line.start_ns[copy] >= line.end_ns[gates[-1]], (
                f"task {copy}: copied before its gate"
            )
        assert uses.size, f"task {copy}: a copy that nothing uses"
        assert (line.start_ns[uses] >= line.end_ns[copy]).all(), (
            f"task {copy}: used before the copy ended"
        )
        yield int(line.start_ns[copy]), int(line.end_ns[uses].max())
