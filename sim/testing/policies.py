"""A conformance kit: what every policy keeps to, checked on a run.

A third party's policy passes through ``check_policy`` too.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from sim.costs.memory import Infeasible, MemoryRule, usable_bytes
from sim.engine.task import NONE, Discipline, TaskKind
from sim.model.model import Model
from sim.policies.actions import ON_CPU, Action, LayerMode
from sim.policies.policy import Policy
from sim.routing.base import Routing
from sim.routing.generated import uniform
from sim.step.lowering.decisions import held_after_prompt
from sim.step.simulate import Run, Scenario, problem_of, simulate
from sim.testing.pipelined import check_groups, check_pages, extra_bytes, is_pipelined
from sim.workload.batch import Batch


def check_policy(
    policy: Policy,
    model: Model,
    machine: Machine,
    batch: Batch,
    *,
    routing: Routing | None = None,
    seed: int = 0,
    slots_per_layer: int | None = None,
) -> Run | Infeasible:
    """Simulate the policy and check all that this module checks; returns the run.

    Raises AssertionError with a reason.
    """
    scenario = Scenario(
        machine=machine,
        model=model,
        batch=batch,
        policy=policy,
        routing=routing or uniform(),
        seed=seed,
        slots_per_layer=slots_per_layer,
    )
    run = simulate(scenario)
    if isinstance(run, Infeasible):
        check_infeasible(scenario, run)
        return run
    for check in CHECKS:
        check(run)
    return run


def check_infeasible(scenario: Scenario, found: Infeasible) -> None:
    """The reason is one line, and a GPU with exactly the missing bytes more is the smallest on
    which the run is feasible.

    Only where the host holds what the GPU does not: its memory must be unstated.
    """
    assert found.reason and "\n" not in found.reason, (
        f"reason must be one line, got {found.reason!r}"
    )
    assert found.missing_bytes > 0, f"missing_bytes must be positive, got {found.missing_bytes}"
    assert scenario.machine.cpu.memory_bytes is None, (
        "check_infeasible needs a machine that states no host memory"
    )
    rule = memory_rule(scenario.policy)
    needed = usable_bytes(scenario.machine, rule) + found.missing_bytes
    smallest = int(needed / rule.usable_fraction) - 2
    while usable_bytes(with_gpu_memory(scenario.machine, smallest), rule) < needed:
        smallest += 1
    enough = simulate(replace(scenario, machine=with_gpu_memory(scenario.machine, smallest)))
    assert isinstance(enough, Run), f"{found.missing_bytes} bytes more should do, but: {enough}"
    short = simulate(replace(scenario, machine=with_gpu_memory(scenario.machine, smallest - 1)))
    assert isinstance(short, Infeasible), (
        f"missing_bytes {found.missing_bytes} is too much: less is enough"
    )


def check_repeats(run: Run) -> None:
    """The same scenario gives the same residency, decisions and timeline, on either engine."""
    for engine in ("fast", "reference"):
        again = simulate(replace(run.scenario, engine=engine))
        assert isinstance(again, Run), f"engine {engine}: infeasible the second time"
        assert (again.residency.experts == run.residency.experts).all(), (
            f"engine {engine}: another residency"
        )
        assert (again.decisions.actions == run.decisions.actions).all(), (
            f"engine {engine}: other decisions"
        )
        assert again.timeline.digest == run.timeline.digest, (
            f"engine {engine}: digest {again.timeline.digest}, not {run.timeline.digest}"
        )


def check_actions(run: Run) -> None:
    """Exactly the selected experts get an action, and one that agrees with where their layer runs."""
    actions = run.decisions.actions
    is_selected = run.tokens > 0
    assert ((actions != Action.IDLE) == is_selected).all(), (
        "an action for every selected expert, and for no other"
    )
    on_cpu = (run.decisions.modes == LayerMode.CPU)[:, :, None] & is_selected
    assert (actions[on_cpu] == Action.CPU).all(), "experts of a layer on the CPU run there"
    if run.scenario.policy.cache.is_static:
        after = held_after_prompt(
            run.scenario.policy, problem_of(run.scenario), run.residency, run.passes, run.tokens
        )
        held = np.where(run.passes.is_prefill[:, None, None], run.residency.experts, after)
        is_held = held | (run.decisions.modes == LayerMode.STREAM)[:, :, None]
        assert not ((actions == Action.RESIDENT) & ~is_held).any(), (
            "an expert counts as resident that the GPU does not hold"
        )
        spilled = run.decisions.spilled
        assert spilled is None or not (spilled & ~held).any(), (
            "an expert spills to the CPU that the GPU does not hold"
        )
        early = (
            np.zeros(actions.shape, bool) if run.decisions.early is None else run.decisions.early
        )
        assert ((actions == Action.EARLY) == (early & is_selected)).all(), (
            "what is copied early runs on the GPU where it is selected"
        )
        assert not (early & held).any(), "a resident is copied early"
    if run.decisions.spilled is not None:
        spills = actions[run.decisions.spilled]
        assert np.isin(spills, ON_CPU).all(), "an expert that spills runs on the CPU"
    top_k = np.array([layer.top_k for layer in run.scenario.model.layers])
    assert (run.tokens.sum(axis=2) == run.passes.num_tokens[:, None] * top_k).all(), (
        "every token selects top-k experts in every MoE layer"
    )


def check_expert_tasks(run: Run) -> None:
    """Each action is one EXPERT task, on its device and as long as its tokens cost."""
    tasks = run.timeline.tasks
    costs = problem_of(run.scenario).costs
    if run.scenario.policy.overlap.groups_experts:
        costs = costs.in_groups()
    is_expert = tasks.kind == TaskKind.EXPERT
    columns = (tasks.step, tasks.layer, tasks.expert, tasks.resource, tasks.duration_ns)
    found = sorted(zip(*(column[is_expert].tolist() for column in columns), strict=True))
    gpu = run.timeline.platform.index("gpu")
    cpu = run.timeline.platform.index("cpu")
    expected = []
    for index, layer, expert in np.argwhere(run.tokens > 0).tolist():
        on_cpu = run.decisions.actions[index, layer, expert] in ON_CPU
        price = int(
            costs.expert("cpu" if on_cpu else "gpu", layer, run.tokens[index, layer, expert]).ns
        )
        expected.append((int(run.passes.step[index]), layer, expert, cpu if on_cpu else gpu, price))
    assert found == sorted(expected), (
        "EXPERT tasks are not one per action at the price of its tokens"
    )


def check_bytes(run: Run) -> None:
    """Bytes are conserved: copies of experts, layers and activations are those that the decisions
    ask for, no more and no less.
    """
    tasks = run.timeline.tasks
    decisions = run.decisions
    model = run.scenario.model
    expert_bytes = np.array([layer.expert_bytes for layer in model.layers])
    layer_bytes = np.array(
        [layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in model.layers]
    )
    fetches = np.isin(decisions.actions, (Action.FETCH, Action.SWAP)).sum(axis=(0, 2))
    runs_head = (~run.passes.is_prefill) | (
        np.arange(len(run.passes)) == run.passes.is_prefill.sum() - 1
    )
    heads = int(((decisions.head_modes == LayerMode.STREAM) & runs_head).sum()) * model.head_bytes
    token_bytes = model.hidden * model.activation_bytes
    down, up = (tokens * token_bytes for tokens in activation_tokens(run, runs_head))
    extra = extra_bytes(run)
    up, down = (
        size + sum(pair[way] for pair in extra.values()) for way, size in enumerate((up, down))
    )
    expected = {
        TaskKind.LAYER_FETCH: int((decisions.modes == LayerMode.STREAM).sum(axis=0) @ layer_bytes)
        + heads,
        **{kind: sum(pair) for kind, pair in extra.items()},
    }
    expected[TaskKind.ACTIVATION_COPY] = (
        up + down - sum(expected.get(kind, 0) for kind in (TaskKind.PAGE, TaskKind.KV_COPY))
    )
    moved = {
        kind: int(tasks.num_bytes[(tasks.kind == kind) & ~run.timeline.is_dropped].sum())
        for kind in TaskKind
    }
    for kind, size in expected.items():
        assert moved[kind] == size, f"{kind.name}: {moved[kind]} bytes copied, {size} asked for"
    early = 0 if decisions.early is None else int(decisions.early.sum(axis=(0, 2)) @ expert_bytes)
    assert moved[TaskKind.EARLY_FETCH] == early, (
        f"{moved[TaskKind.EARLY_FETCH]} bytes copied early, {early} asked for"
    )
    fetched = moved[TaskKind.FETCH] + moved[TaskKind.SLOT_FETCH]
    assert fetched == int(fetches @ expert_bytes), (
        f"{fetched} bytes of experts copied, {int(fetches @ expert_bytes)} missing"
    )
    writes_back = run.scenario.policy.cache.writes_back
    assert (
        moved[TaskKind.EVICT] <= moved[TaskKind.SLOT_FETCH]
        if writes_back
        else not moved[TaskKind.EVICT]
    ), "evictions without a swap"
    h2d = fetched + early + moved[TaskKind.PREFETCH] + expected[TaskKind.LAYER_FETCH] + up
    assert run.metrics.h2d_bytes == h2d, f"h2d_bytes {run.metrics.h2d_bytes}, expected {h2d}"
    d2h = moved[TaskKind.EVICT] + down
    assert run.metrics.d2h_bytes == d2h, f"d2h_bytes {run.metrics.d2h_bytes}, expected {d2h}"
    ahead = early + moved[TaskKind.PREFETCH]
    assert run.metrics.prefetched_bytes == ahead >= run.metrics.wasted_prefetch_bytes, (
        "prefetched bytes do not add up"
    )


def activation_tokens(run: Run, runs_head: NDArray[np.bool_]) -> tuple[int, int]:
    """Tokens whose hidden state goes to the CPU and to the GPU: where it changes place between
    layers, and for CPU experts.
    """
    down = up = 0
    on_cpu = False
    for index in range(len(run.passes)):
        fed = int(run.passes.num_tokens[index])
        stops = [(mode == LayerMode.CPU, fed) for mode in run.decisions.modes[index]]
        if runs_head[index]:
            stops.append(
                (
                    run.decisions.head_modes[index] == LayerMode.CPU,
                    int(run.passes.num_sequences[index]),
                )
            )
        for wants_cpu, count in stops:
            down += count if wants_cpu and not on_cpu else 0
            up += count if on_cpu and not wants_cpu else 0
            on_cpu = bool(wants_cpu)
        sent, returned = _split_tokens(run, index)
        down = down + sent
        up = up + returned
    return down, up


def _split_tokens(run: Run, index: int) -> tuple[int, int]:
    """Tokens sent to the CPU for experts of layers on the GPU, and those that come back, maybe in
    another layer.
    """
    tokens = run.tokens[index]
    actions = run.decisions.actions[index]
    own, deferred, ahead = ((tokens * (actions == action)).sum(axis=1) for action in ON_CPU)
    own[run.decisions.modes[index] == LayerMode.CPU] = 0
    sent = own + deferred
    returned = own + ahead
    sent[:-1] += ahead[1:]
    returned[1:] += deferred[:-1]
    fed = int(run.passes.num_tokens[index])
    if run.scenario.policy.overlap.hand_over_ns > 0:
        is_handed = np.array([layer.is_moe for layer in run.scenario.model.layers]) & (
            run.decisions.modes[index] != LayerMode.CPU
        )
        sent = fed * is_handed
        returned = fed * is_handed
    return int(np.minimum(sent, fed).sum()), int(np.minimum(returned, fed).sum())


def check_timeline(run: Run) -> None:
    """Dependencies hold, a resource runs one task at a time, busy and idle add up, and nothing
    beats a lower bound.
    """
    line = run.timeline
    tasks = line.tasks
    start = line.start_ns
    end = line.end_ns
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
    """A layer waits for all of the layer before, experts for their gate, CPU experts for the
    activations they work on.

    Pipelined layers wait micro-batch by micro-batch: there only steps are in order.
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
    """Which tasks are experts that start in one layer and are joined in the next, or send
    activations to one.
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
    """In a serial pass no two tasks run at once, on whatever resources."""
    is_serial = run.scenario.policy.overlap.is_serial(run.passes.is_prefill)
    is_aside = np.isin(run.timeline.tasks.kind, (TaskKind.PREFETCH, TaskKind.LOOKUP))
    tasks = np.flatnonzero(np.isin(run.timeline.tasks.step, run.passes.step[is_serial]) & ~is_aside)
    order = tasks[np.argsort(run.timeline.start_ns[tasks], kind="stable")]
    assert (run.timeline.start_ns[order][1:] >= run.timeline.end_ns[order][:-1]).all(), (
        "two tasks at once in a serial pass"
    )


def check_copies(run: Run) -> None:
    """A copy starts after its gate, and what needs it after its end; no more copies are in use than
    there are buffers.
    """
    overlap = run.scenario.policy.overlap
    check_pages(run)
    assert all(True for _ in _spans(run, TaskKind.SLOT_FETCH))
    for kind, buffers in (
        (TaskKind.FETCH, overlap.staging_experts),
        (TaskKind.LAYER_FETCH, overlap.staging_layers),
    ):
        spans = [*_spans(run, kind), *(_early_spans(run) if kind == TaskKind.FETCH else ())]
        instants = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
        most = int(np.cumsum([change for _, change in instants]).max(initial=0))
        assert most <= buffers, (
            f"{most} copies of kind {kind.name} in use at once, with {buffers} buffers"
        )


def _early_spans(run: Run) -> Iterator[tuple[int, int]]:
    """(start of the copy, end of the run before the next copy of the same expert, or of the copy)
    of every early copy.
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
    """(start of the copy, end of the last use in its pass) of every copy of that kind; each is
    used, and not before its end.
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


def check_memory(run: Run) -> None:
    """What the run holds at its peak is within what the policy may fill, where its rule budgets all
    of it.
    """
    rule = memory_rule(run.scenario.policy)
    if rule.budgets_kv and rule.budgets_activations:
        usable = usable_bytes(run.scenario.machine, rule)
        peak = run.metrics.peak_gpu_memory_bytes - run.memory_items["CUDA context"]
        assert peak <= usable, (
            f"peak memory {peak} exceeds the {usable} bytes that the policy may fill by {peak - usable}"
        )


def check_metrics(run: Run) -> None:
    """The metrics are those of the timeline and the decisions, counted another way."""
    metrics = run.metrics
    batch = run.scenario.batch
    tasks = run.timeline.tasks
    is_aside = np.isin(tasks.kind, (TaskKind.PREFETCH, TaskKind.EARLY_FETCH, TaskKind.LOOKUP))
    last_ns = int(run.timeline.end_ns[~is_aside].max())
    assert round(metrics.end_to_end_s * 1e9) == last_ns, (
        "end_to_end_s is not the end of the last task, prefetches left out"
    )
    heads = run.timeline.end_ns[(tasks.kind == TaskKind.HEAD) & (tasks.step == 0)]
    assert len(heads) == 1 and metrics.ttft_s * 1e9 >= heads[0] - 1, (
        "the first token comes before its vocabulary projection"
    )
    total = metrics.ttft_s + (batch.output_tokens - 1) * metrics.tpot_s
    assert abs(total - metrics.end_to_end_s) < 1e-9 + 1e-12 * total, "ttft and tpot do not add up"
    assert 0.0 <= metrics.expert_hit_rate <= 1.0, f"hit rate {metrics.expert_hit_rate}"
    calls = metrics.cpu_expert_calls + metrics.gpu_expert_calls
    assert calls == int((run.tokens > 0).sum()) == int((tasks.kind == TaskKind.EXPERT).sum()), (
        "expert calls do not add up"
    )
    assert all(0.0 <= share <= 1.0 + 1e-12 for share in metrics.utilization.values()), (
        f"utilization {metrics.utilization}"
    )
    assert (tasks.expert[tasks.kind == TaskKind.EXPERT] != NONE).all(), (
        "an EXPERT task without an expert"
    )


CHECKS = (
    check_actions,
    check_expert_tasks,
    check_bytes,
    check_timeline,
    check_order,
    check_serial,
    check_copies,
    check_memory,
    check_metrics,
    check_repeats,
)
"""What ``check_policy`` checks of a run, in order."""


def memory_rule(policy: Policy) -> MemoryRule:
    """The rule of the policy's placement; the default one for a placement that names none."""
    rule = getattr(policy.placement, "memory", None)
    return rule if isinstance(rule, MemoryRule) else MemoryRule()


def with_gpu_memory(machine: Machine, num_bytes: int) -> Machine:
    """The machine with that much memory per GPU."""
    memory = machine.gpu.memory_bytes.model_copy(
        update={"value": float(num_bytes), "efficiency": None}
    )
    return machine.model_copy(
        update={"gpu": machine.gpu.model_copy(update={"memory_bytes": memory})}
    )
