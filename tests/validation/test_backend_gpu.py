"""The backend on a CUDA device: streams overlap, copies are as fast as the link, tokens stay,
memory comes back.
"""

import threading
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from sim.engine.task import TaskKind
from sim.policies import POLICIES, Policy
from sim.policies.overlap import Overlap
from sim.workload.batch import Batch
from tests.sim.small import small_machine
from tests.validation.backend_runs import BATCHES, SHAPES, Case, case
from validation.backend import (
    ExecutedRun,
    Tier,
    architecture_of,
    plain_forward,
    random_weights,
    stand_in,
)
from validation.backend.stream import CudaStream

pytestmark = pytest.mark.gpu

EXECUTED = {
    name: policy
    for name, policy in POLICIES.items()
    if policy.is_lossless and not policy.placement.is_remade and policy.cache.is_static
} | {
    name: policy
    for name, policy in POLICIES.items()
    if policy.is_lossless and policy.cache.score is not None
}
COPIES = (TaskKind.FETCH, TaskKind.SLOT_FETCH, TaskKind.LAYER_FETCH)


@pytest.mark.parametrize("shape", ["plain", "dense-first-and-shared"])
@pytest.mark.parametrize("policy", EXECUTED.values(), ids=EXECUTED)
def test_logits_equal_the_plain_forward(policy: Policy, shape: str) -> None:
    """Those of the host, within what another order of sums makes of 32-bit numbers; greedy tokens
    are identical.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    subject = case(policy, SHAPES[shape], BATCHES["several"], share=0.4)
    executed = replace(subject, weights=_pinned(subject)).run(tier=Tier.CUDA)
    plain = plain_forward(subject.weights, subject.problem.batch, executed.passes, subject.prompts)
    for measured, expected in zip(executed.logits_SV, plain.logits_SV, strict=True):
        torch.testing.assert_close(measured, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(executed.tokens_SC, plain.tokens_SC)


def test_streams_overlap() -> None:
    """While an expert is copied, others are computed: in the timeline by the streams' own events."""
    executed = _large("on-demand")
    tasks, line = executed.timeline.tasks, executed.timeline
    copies, computing = (
        np.isin(tasks.kind, COPIES),
        (tasks.resource == 0) & (tasks.kind == TaskKind.EXPERT),
    )
    overlapped = 0
    for number in np.flatnonzero(copies).tolist():
        overlapped += bool(
            (
                computing
                & (line.start_ns < line.end_ns[number])
                & (line.end_ns > line.start_ns[number])
            ).any()
        )
    assert overlapped > 0.2 * np.count_nonzero(copies)
    for number in range(len(tasks)):
        waits = tasks.dependencies[
            tasks.dependency_offsets[number] : tasks.dependency_offsets[number + 1]
        ]
        assert (line.end_ns[waits] <= line.start_ns[number] + 50_000).all(), (
            f"task {number} starts before what it waits for"
        )


def test_copies_reach_the_rate_of_the_link() -> None:
    """Experts of a run arrive at no less than 0.8 of the rate of one large page-locked copy."""
    source = torch.zeros(256 << 20, dtype=torch.uint8, pin_memory=True)
    target, stream = torch.empty_like(source, device="cuda"), CudaStream()
    rates = []
    for _ in range(5):
        with stream.use():
            begins = stream.mark()
            target.copy_(source, non_blocking=True)
            ends = stream.mark()
        ends.wait()
        rates.append(source.nbytes / ends.ns_since(begins))
    executed = _large("on-demand")
    tasks, line = executed.timeline.tasks, executed.timeline
    is_copy = np.isin(tasks.kind, COPIES)
    reached = tasks.num_bytes[is_copy] / (line.end_ns - line.start_ns)[is_copy]
    assert np.median(reached) >= 0.8 * np.median(rates)


def test_a_hundred_plans_leave_nothing_behind() -> None:
    """Neither memory of the device nor threads."""
    subjects = [
        case(POLICIES[name], SHAPES["plain"], BATCHES["one"], share=0.4)
        for name in ("fiddler", "on-demand", "lru", "promoe")
    ]
    subjects = [replace(subject, weights=_pinned(subject)) for subject in subjects]
    for subject in subjects:
        subject.run(tier=Tier.CUDA)
    torch.cuda.synchronize()
    before, threads = torch.cuda.memory_allocated(), threading.active_count()
    for number in range(100):
        subjects[number % len(subjects)].run(tier=Tier.CUDA)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before and threading.active_count() == threads


def _pinned(subject: Case) -> object:
    return random_weights(architecture_of(subject.problem.model), 0, is_pinned=True)


def _large(name: str) -> ExecutedRun:
    """A run of 32 experts of 50 MB each, none of them resident."""
    model = stand_in(SHAPES["plain"], hidden=2048, intermediate=2048, vocab=1024)
    policy = replace(POLICIES[name], overlap=Overlap(staging_experts=3))
    subject = case(policy, SHAPES["plain"], Batch(prompt_tokens=16, output_tokens=3), share=0.0)
    problem = replace(subject.problem, model=model, machine=small_machine(1e10))
    weights = random_weights(architecture_of(model), 0, is_pinned=True)
    large = replace(
        subject, problem=problem, weights=weights, prompts=torch.zeros((1, 16), dtype=torch.long)
    )
    large.run(tier=Tier.CUDA)
    return large.run(tier=Tier.CUDA)
