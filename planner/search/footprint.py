"""How much memory a simulation takes, estimated beforehand from the shapes of what it keeps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hwprofiles.units import MIB
from sim.model.model import Model
from sim.policies import Policy, find_policy
from sim.policies.dispatch.constant import CpuDispatch
from sim.step.long import PART_PASSES
from sim.step.simulate import Question, Scenario
from sim.workload.batch import Batch, Feeding, micro_batches

PROGRAM_BYTES = 192 * MIB
"""Python, its packages and the compiled kernels, as `docs/reliability.md` has them measured."""

ROUTED_BYTES = 4
"""Bytes per selected expert of a token: 2 for its number, as much again while the draw is made."""

NUM_PARTS = 4
"""Parts of a long run that memory is counted for.

One part is there until the next is set up. What was given back stays with the process as long as
its allocator keeps it, which is as much again.
"""

EXPERT_BYTES = 8
"""Bytes per expert, layer and pass.

An expert's tokens take 4 bytes, what is done with the expert takes 1. The decision and the counts
are made from the other 3.
"""

FORESEEN_BYTES = 16
"""Further bytes per expert, layer and pass, where a cache or a prefetch looks at scores or at
gates.
"""

TASK_BYTES = 264
"""Bytes per task.

A task has a record (48), columns (45), where they end (8), and two or three dependencies (24). In
the engine, a task has a state (56), three times (24), and a place in a queue (16). The report reads
a row of the digest off it (43 to 48).
"""

GATE_TASKS = 4
"""Tasks per layer and pass, besides those of experts.

Attention, gate, the rest of the layer, and a copy of activations are one task each.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassShape:
    """The most passes that a run has, and the most tokens of one pass."""

    num_passes: int
    num_tokens: int


def run_bytes(scenario: Scenario) -> int:
    """Return the most bytes that one run takes, program included.

    This is an upper estimate: every token may select experts of its own.
    """
    return PROGRAM_BYTES + draw_bytes(scenario) + _tasks_bytes(scenario)


def part_bytes(scenario: Scenario) -> int:
    """Return the most bytes that a run takes which keeps one part of its passes at a time.

    Such a run keeps the experts of every token, and the tasks of NUM_PARTS parts.
    """
    batch = scenario.batch
    num_tokens = min(batch.output_tokens, PART_PASSES)
    part = replace(scenario, batch=replace(batch, output_tokens=num_tokens))
    routed = (
        batch.num_sequences
        * batch.context_tokens
        * len(scenario.model.moe_layers)
        * scenario.model.top_k
    )
    others = (NUM_PARTS - 1) * _tasks_bytes(part)
    return run_bytes(part) + others + routed * ROUTED_BYTES


def plan_bytes(question: Question, num_draws: int, num_threads: int) -> int:
    """Return the most bytes that a search takes.

    A search keeps the draws, ``num_threads`` runs at once, and the best run.
    """
    # Fetching every miss stands for all candidates: it has a copy and a run for each expert.
    scenario = question.under(find_policy("on-demand"))
    return (
        PROGRAM_BYTES
        + num_draws * draw_bytes(scenario)
        + (num_threads + 1) * _tasks_bytes(scenario)
    )


def draw_bytes(scenario: Scenario) -> int:
    """Return the bytes of a draw of the routing.

    A draw has the experts of every token, and the tokens of every expert in every pass.
    """
    model = scenario.model
    batch = scenario.batch
    routed = batch.num_sequences * batch.context_tokens * len(model.moe_layers) * model.top_k
    fed = (
        sum(shape.num_passes for shape in pass_shapes(batch, scenario.policy.feeding))
        * model.num_layers
        * model.num_experts
    )
    return routed * ROUTED_BYTES + fed * EXPERT_BYTES


def pass_shapes(batch: Batch, feeding: Feeding) -> Iterator[PassShape]:
    """Yield the shape of the prompts' passes, then that of the further tokens' passes.

    Passes are counted rather than listed, since a request may be for any number of them.
    """
    # Beams share a prompt, unless the system feeds it once for each.
    prompts = batch.num_sequences if feeding.replicates_prompt else batch.batch_size
    if feeding.is_pipelined:
        prefill, decode = micro_batches(batch, feeding)
        yield PassShape(num_passes=-(-prompts // prefill), num_tokens=prefill * batch.prompt_tokens)
    else:
        decode = batch.num_sequences
        chunk = batch.prompt_tokens
        if feeding.prefill_chunk_tokens is not None:
            chunk = min(chunk, max(1, feeding.prefill_chunk_tokens // prompts))
        yield PassShape(num_passes=-(-batch.prompt_tokens // chunk), num_tokens=chunk * prompts)
    if feeding.decodes_beams_apart:
        # a pass for each sequence, and one that moves the end of what beams share
        num_moving = (
            max(0, batch.output_tokens - 1 - feeding.beam_lag_tokens) if batch.beams > 1 else 0
        )
        num_passes = batch.num_sequences * (batch.output_tokens - 1) + batch.batch_size * num_moving
        decode = feeding.beam_lag_tokens
    else:
        num_passes = -(-batch.num_sequences // decode) * (batch.output_tokens - 1)
    yield PassShape(num_passes=num_passes, num_tokens=decode)


def _tasks_bytes(scenario: Scenario) -> int:
    """Return the bytes that tasks take from lowering to report, and what a cache or a prefetch
    keeps.
    """
    model = scenario.model
    policy = scenario.policy
    total = 0
    for shape in pass_shapes(scenario.batch, policy.feeding):
        active = min(model.num_experts, shape.num_tokens * model.top_k)
        tasks = GATE_TASKS + active * _tasks_per_expert(policy)
        total += (
            shape.num_passes
            * model.num_layers
            * (tasks * TASK_BYTES + _foreseen_bytes(model, policy))
        )
    return total


def _tasks_per_expert(policy: Policy) -> int:
    """Return the tasks of a selected expert: its run, and a copy unless misses stay on the CPU.

    There is one more copy where experts are fetched ahead, in vain or not.
    """
    if isinstance(policy.dispatch, CpuDispatch):
        return 1
    return 3 if policy.prefetch.is_active else 2


def _foreseen_bytes(model: Model, policy: Policy) -> int:
    looks = policy.prefetch.is_active or policy.cache.score is not None
    return model.num_experts * FORESEEN_BYTES if looks else 0
