"""The backend's execution of every static policy: the same tokens as a plain forward pass, the same
tasks as the simulator.
"""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from hwprofiles import InputError
from sim.engine.task import TaskKind
from sim.policies import POLICIES, Action, Policy
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.prefetch.early import EarlyPrefetch
from sim.workload.batch import Batch, Feeding, forward_passes
from tests.validation.backend_runs import BATCHES, SHAPES, Case, case
from validation.backend import ExecutedRun, plain_forward

STATIC = {
    name: policy
    for name, policy in POLICIES.items()
    if policy.is_lossless
    and policy.keeps_residency
    and not policy.prefetch.is_active
    and policy.tuning is None
}
LIVE = {
    name: policy
    for name, policy in POLICIES.items()
    if policy.is_lossless and policy.cache.score is not None
}
SPILLING = {
    "static": replace(POLICIES["on-demand"], name="spilling", dispatch=SpillDispatch()),
    "cached": replace(POLICIES["lru"], name="spilling", dispatch=SpillDispatch()),
}
OTHERS = {
    name: policy for name, policy in POLICIES.items() if name not in STATIC and name not in LIVE
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """Operations this small are slower on several."""
    torch.set_num_threads(1)


@pytest.mark.parametrize(("batch", "share"), [("one", 0.0), ("several", 0.5), ("long-prompt", 0.5)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("policy", STATIC.values(), ids=STATIC)
def test_policy_changes_no_token(policy: Policy, shape: str, batch: str, share: float) -> None:
    """Logits equal the plain forward's, greedy tokens are identical, and so are the tasks the
    simulator would emit.
    """
    subject = case(policy, SHAPES[shape], BATCHES[batch], share=share)
    executed = subject.run()
    check_tokens(subject, executed)
    check_tasks(subject, executed)


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("shape", ["plain", "dense-first-and-shared"])
@pytest.mark.parametrize("policy", SPILLING.values(), ids=SPILLING)
def test_residents_that_spill_change_no_token(policy: Policy, shape: str, share: float) -> None:
    """Logits equal the plain forward's where the CPU computes experts that the accelerator holds,
    and they are counted as hits.
    """
    subject = case(policy, SHAPES[shape], BATCHES["several"], share=share, overhead_ns=20_000)
    executed = subject.run()
    check_tokens(subject, executed)
    spilled = executed.decisions.spilled
    assert (
        spilled is not None
        and spilled.any()
        and (executed.decisions.actions[spilled] == Action.CPU).all()
    )
    if policy is SPILLING["static"]:
        check_tasks(subject, executed)


@pytest.mark.parametrize(("batch", "least_probability"), [("one", 0.01), ("several", 0.9)])
@pytest.mark.parametrize("shape", ["plain", "dense-first-and-shared"])
def test_early_copies_change_no_token(shape: str, batch: str, least_probability: float) -> None:
    """Logits equal the plain forward's where experts of a prompt come ahead of their gates, needed
    or in vain.
    """
    prefetch = EarlyPrefetch(least_probability=least_probability)
    policy = replace(
        POLICIES["on-demand"], name="early", dispatch=SpillDispatch(), prefetch=prefetch
    )
    subject = case(policy, SHAPES[shape], BATCHES[batch], share=0.3)
    executed = subject.run()
    check_tokens(subject, executed)
    check_tasks(subject, executed)
    early = executed.decisions.early
    assert (
        early is not None
        and early.any()
        and (executed.decisions.actions[early & (executed.tokens > 0)] == Action.EARLY).all()
    )


@pytest.mark.parametrize("policy", OTHERS.values(), ids=OTHERS)
def test_other_policies_are_refused(policy: Policy) -> None:
    """Lossy ones, and those that place experts anew: in one line that names the policy."""
    subject = case(STATIC["on-demand"], SHAPES["plain"], BATCHES["one"])
    with pytest.raises(InputError, match=policy.name) as error:
        Case(
            policy=policy,
            problem=subject.problem,
            residency=subject.residency,
            weights=subject.weights,
            prompts=subject.prompts,
        ).run()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("batch", "share"), [("one", 0.3), ("several", 0.5)])
@pytest.mark.parametrize("shape", ["plain", "dense-first-and-shared", "windows-and-uneven-bytes"])
@pytest.mark.parametrize("policy", LIVE.values(), ids=LIVE)
def test_live_policy_changes_no_token(policy: Policy, shape: str, batch: str, share: float) -> None:
    """Caches and prefetchers too: what is evicted and brought back is the expert that is meant."""
    subject = case(policy, SHAPES[shape], BATCHES[batch], share=share)
    executed = subject.run()
    check_tokens(subject, executed)


@pytest.mark.parametrize(
    "name",
    [
        "fiddler",
        "fiddler-v1",
        "llama.cpp",
        "zero-streaming",
        "ktransformers",
        "on-demand",
        "lru",
        "fmoe",
    ],
)
def test_beams_change_no_token(name: str) -> None:
    """Hypotheses that live on and die do so alike, however their steps are fed."""
    subject = case(POLICIES[name], SHAPES["dense-first-and-shared"], BATCHES["beams"])
    check_tokens(subject, subject.run())


def test_beams_are_the_best_hypotheses() -> None:
    """A search that reads every hypothesis anew from its start, without caches to hand down, finds
    the same.
    """
    batch = BATCHES["beams"]
    subject = case(POLICIES["on-demand"], SHAPES["plain"], batch)
    found = plain_forward(
        subject.weights, batch, forward_passes(batch, Feeding()), subject.prompts
    ).tokens_SC
    for prompt in range(batch.batch_size):
        best = [(0.0, subject.prompts[prompt].tolist())]
        for _ in range(batch.output_tokens):
            longer = [
                (score + step, [*tokens, token])
                for score, tokens in best
                for token, step in enumerate(_log_shares(subject, tokens))
            ]
            best = sorted(longer, reverse=True)[: batch.beams]
        assert [tokens for _, tokens in best] == found[prompt :: batch.batch_size].tolist()


def _log_shares(subject: Case, tokens: list[int]) -> list[float]:
    """Logarithms of the next token's probabilities."""
    batch = Batch(prompt_tokens=len(tokens), output_tokens=1)
    read = plain_forward(
        subject.weights, batch, forward_passes(batch, Feeding()), torch.tensor([tokens])
    )
    shares: list[float] = torch.log_softmax(read.logits_SV[0][0], dim=-1).tolist()
    return shares


def check_tokens(subject: Case, executed: ExecutedRun) -> None:
    """Outputs are those of the plain forward: bit by bit where every expert's result comes back by
    itself.
    """
    plain = plain_forward(subject.weights, subject.problem.batch, executed.passes, subject.prompts)
    assert len(executed.logits_SV) == len(plain.logits_SV)
    for measured, expected in zip(executed.logits_SV, plain.logits_SV, strict=True):
        assert torch.isfinite(measured).all()
        torch.testing.assert_close(measured, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(executed.tokens_SC, plain.tokens_SC)
    assert (executed.expert_ids == plain.expert_ids).all()


def check_tasks(subject: Case, executed: ExecutedRun) -> None:
    """Column by column the table that the simulator lowers to, given the same routing; the bytes
    are those really copied.
    """
    expected, measured = subject.predicted(executed).program.tasks, executed.timeline.tasks
    assert len(measured) == len(expected)
    for name in (
        "resource",
        "kind",
        "layer",
        "expert",
        "step",
        "duration_ns",
        "priority",
        "num_bytes",
    ):
        ours, theirs = getattr(measured, name), getattr(expected, name)
        assert np.array_equal(ours, theirs), (
            f"{name} differs first at task {np.flatnonzero(ours != theirs)[:1]}"
        )
    for number in range(len(expected)):
        assert set(_waits(measured, number)) == set(_waits(expected, number)), (
            f"task {number} waits for other tasks"
        )
    assert executed.timeline.tasks.num_bytes[measured.kind == TaskKind.GATE].sum() == 0


def _waits(tasks: object, number: int) -> list[int]:
    first, end = tasks.dependency_offsets[number : number + 2]  # type: ignore[attr-defined]
    return tasks.dependencies[first:end].tolist()  # type: ignore[attr-defined,no-any-return]
