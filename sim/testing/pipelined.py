"""Checks of runs with pipelined layers, besides those of every run.

They are part of the conformance kit in ``sim.testing``.
"""

import numpy as np

from sim.engine.task import TaskKind
from sim.policies.actions import Action, LayerMode
from sim.step.simulate import Run


def is_pipelined(run: Run) -> bool:
    """Whether the run goes through its layers in micro-batches."""
    return bool((run.decisions.modes == LayerMode.PIPELINE).any())


def extra_bytes(run: Run) -> dict[TaskKind, tuple[int, int]]:
    """Return the bytes (to the GPU, to the host) that only pipelined layers copy, by kind.

    They are pages, what attention on the CPU takes and gives, and the KV cache of prompts.
    """
    if not is_pipelined(run):
        return {}
    model = run.scenario.model
    passes = run.passes
    residency = run.residency
    # A placement that says nothing of the KV cache keeps it with its layer.
    kv = residency.dense if residency.kv is None else residency.kv
    pages = down = up = written = 0
    for layer, spec in enumerate(model.layers):
        if run.scenario.policy.dispatch.rule.name == "FETCH":
            missing = spec.num_experts - int(residency.experts[layer].sum())
            pages += len(np.unique(passes.group)) * missing * spec.expert_bytes
        attention = spec.attention
        if kv[layer] or attention is None:
            continue
        for index in range(len(passes)):
            fed = int(passes.num_tokens[index])
            if passes.is_prefill[index]:
                kept = spec.kv_elements(int(passes.context_tokens[index]))
                written += int(
                    np.ceil(int(passes.num_sequences[index]) * kept * model.kv_element_bytes)
                )
            else:
                down += (
                    fed
                    * (attention.score_elements + attention.kv_elements_per_token)
                    * model.activation_bytes
                )
                up += fed * attention.value_elements * model.activation_bytes
    return {
        TaskKind.PAGE: (pages, 0),
        TaskKind.ACTIVATION_COPY: (up, down),
        TaskKind.KV_COPY: (0, written),
    }


def check_pages(run: Run) -> None:
    """Check that paged experts run after the last page of their layer and step.

    Also check that no more layers are paged in at once than there are buffers.
    """
    line = run.timeline
    tasks = run.timeline.tasks
    pages = np.flatnonzero(tasks.kind == TaskKind.PAGE)
    if not pages.size:
        assert not (run.decisions.actions == Action.PAGED).any(), (
            "an expert is paged without a page"
        )
        return
    place = tasks.step.astype(np.int64) * run.scenario.model.num_layers + tasks.layer
    on_gpu = (tasks.resource == line.platform.index("gpu")) & (tasks.layer >= 0)
    spans = []
    for unit in np.unique(place[pages]).tolist():
        own = pages[place[pages] == unit]
        layer = unit % run.scenario.model.num_layers
        uses = np.flatnonzero(on_gpu & (place == unit) & (tasks.kind == TaskKind.EXPERT))
        uses = uses[~run.residency.experts[layer, tasks.expert[uses]]]
        assert (line.start_ns[uses] >= line.end_ns[own].max()).all(), (
            f"layer {layer}: an expert runs before its pages are there"
        )
        spans.append(
            (int(line.start_ns[own].min()), int(line.end_ns[on_gpu & (place == unit)].max()))
        )
    instants = sorted(
        [(start, 1) for start, _ in spans] + [(max(start, end), -1) for start, end in spans]
    )
    most = int(np.cumsum([change for _, change in instants]).max())
    buffers = run.scenario.policy.overlap.staging_layers
    assert most <= buffers, f"{most} layers paged in at once, with {buffers} buffers"


def check_groups(run: Run) -> None:
    """Check that each step works only after the vocabulary projection of the step before has ended.

    Pages and copies of the KV cache are exempt. Also check that a vocabulary projection waits for
    all of its step.
    """
    line = run.timeline
    tasks = run.timeline.tasks
    is_aside = np.isin(tasks.kind, (TaskKind.PAGE, TaskKind.KV_COPY))
    heads = np.flatnonzero(tasks.kind == TaskKind.HEAD)
    for number, head in enumerate(heads.tolist()):
        before = np.flatnonzero(~is_aside[: head + 1])[:-1]
        assert line.start_ns[head] >= line.end_ns[before].max(), (
            f"task {head}: tokens are chosen before all layers have ended"
        )
        end = heads[number + 1] if number + 1 < len(heads) else len(tasks)
        after = np.arange(head + 1, end)[~is_aside[head + 1 : end]]
        assert (line.start_ns[after] >= line.end_ns[head]).all(), (
            f"task {head}: a step begins before its tokens are known"
        )
