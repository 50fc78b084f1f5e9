"""Checks of a run's decisions, of the tasks they become and of the bytes they move.

They are part of the conformance kit in ``sim.testing``.
"""

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import TaskKind
from sim.policies.actions import ON_CPU, Action, LayerMode
from sim.step.lowering.decisions import held_after_prompt
from sim.step.simulate import Run, problem_of
from sim.testing.pipelined import extra_bytes


def check_actions(run: Run) -> None:
    """Check that the selected experts, and no others, get an action, and that it agrees with where
    their layer runs.
    """
    actions = run.decisions.actions
    is_selected = run.tokens > 0
    assert ((actions != Action.IDLE) == is_selected).all(), (
        "an action for every selected expert, and for no other"
    )
    on_cpu = (run.decisions.modes == LayerMode.CPU)[:, :, None] & is_selected
    assert (actions[on_cpu] == Action.CPU).all(), "experts of a layer on the CPU run there"
    if run.scenario.policy.cache.is_static:
        _check_residents(run)
    if run.decisions.spilled is not None:
        spills = actions[run.decisions.spilled]
        assert np.isin(spills, ON_CPU).all(), "an expert that spills runs on the CPU"
    top_k = np.array([layer.top_k for layer in run.scenario.model.layers])
    assert (run.tokens.sum(axis=2) == run.passes.num_tokens[:, None] * top_k).all(), (
        "every token selects top-k experts in every MoE layer"
    )


def _check_residents(run: Run) -> None:
    """Check that only residents count as held and only they spill, if residents never change."""
    actions = run.decisions.actions
    is_selected = run.tokens > 0
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
    early = np.zeros(actions.shape, bool) if run.decisions.early is None else run.decisions.early
    assert ((actions == Action.EARLY) == (early & is_selected)).all(), (
        "what is copied early runs on the GPU where it is selected"
    )
    assert not (early & held).any(), "a resident is copied early"


def check_expert_tasks(run: Run) -> None:
    """Check that each action has one EXPERT task, on its device and as long as its tokens cost."""
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
    """Check that bytes are conserved: copies of experts, layers and activations are those that the
    decisions ask for, no more and no less.
    """
    tasks = run.timeline.tasks
    decisions = run.decisions
    model = run.scenario.model
    expert_bytes = np.array([layer.expert_bytes for layer in model.layers])
    layer_bytes = np.array(
        [layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in model.layers]
    )
    fetches = np.isin(decisions.actions, (Action.FETCH, Action.SWAP)).sum(axis=(0, 2))
    # Of a prompt in chunks only the last one gives a token.
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
    """Return the tokens whose hidden state goes to the CPU, and those whose hidden state goes to
    the GPU.

    A hidden state moves if its place changes between layers, and for CPU experts.
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
    """Return the tokens sent to the CPU for experts of layers on the GPU, and the tokens that come
    back.

    Tokens may come back in another layer.
    """
    tokens = run.tokens[index]
    actions = run.decisions.actions[index]
    own, deferred, ahead = ((tokens * (actions == action)).sum(axis=1) for action in ON_CPU)
    own[run.decisions.modes[index] == LayerMode.CPU] = 0
    sent = own + deferred
    returned = own + ahead
    # What the next layer has predicted is sent by this one, and comes back there.
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
