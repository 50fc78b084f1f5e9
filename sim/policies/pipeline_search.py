"""MoE-Lightning's policy search: the sizes of micro-batches, where attention and experts run, and
which share of experts and KV caches is resident.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sim.costs.memory import machine_bytes
from sim.model.model import layer_shapes
from sim.policies.dispatch.paged import PagedDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.paged import (
    PagedPlacement,
    fixed_bytes,
    held_bytes,
    imposed_experts,
    kv_on_gpu,
    resident_counts,
)
from sim.policies.policy import Policy, Tuning
from sim.policies.problem import Problem
from sim.policies.roofline import Stage, layer_seconds
from sim.workload.batch import Feeding, micro_batches

KV_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The search tries these shares of the layers as those whose KV cache lies on the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineChoice:
    """A point of the search: its parameters, its predicted seconds, and the bytes that it needs
    beyond GPU memory (0: it fits).
    """

    missing_bytes: int
    seconds: float
    feeding: Feeding
    kv_layers: int
    resident_experts: int
    ffn_on_gpu: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTuning(Tuning):
    """Chooses, among the points that fit, that of least time by the hierarchical roofline; all
    sequences of the batch go together.

    A micro-batch has all sequences, or a power of two below that; prompts and decode steps have
    sizes of their own. Resident experts take what memory is left. Parameters that are set are kept.
    Where no point fits, the one that lacks the fewest bytes is chosen.
    """

    def tune(self, policy: Policy, problem: Problem) -> Policy:
        """Choose the point of least predicted time.

        The policy's placement, dispatch and overlap must be ``paged``, ``paged`` and ``lanes``.
        """
        return with_choice(
            policy,
            min(
                # What fits misses nothing: among all that fit, time decides.
                choices(policy, problem),
                key=lambda choice: (choice.missing_bytes, choice.seconds),
            ),
        )


def with_choice(policy: Policy, choice: PipelineChoice) -> Policy:
    """The policy with the parameters of that point, and no tuning."""
    placement, dispatch, overlap = _parts(policy)
    return replace(
        policy,
        placement=replace(
            placement, resident_experts=choice.resident_experts, kv_layers=choice.kv_layers
        ),
        dispatch=replace(dispatch, ffn_on_gpu=choice.ffn_on_gpu),
        overlap=replace(overlap, staging_layers=overlap.staging_layers if choice.ffn_on_gpu else 0),
        feeding=choice.feeding,
        tuning=None,
    )


def choices(policy: Policy, problem: Problem) -> Iterator[PipelineChoice]:
    """Yield all points of the search, with their predicted seconds and the bytes that they lack."""
    placement, dispatch, overlap = _parts(policy)
    layers = problem.model.num_layers
    kv_options = (
        sorted({round(share * layers) for share in KV_SHARES})
        if placement.kv_layers is None
        else [min(placement.kv_layers, layers)]
    )
    for ffn_on_gpu in (True, False) if dispatch.ffn_on_gpu is None else (dispatch.ffn_on_gpu,):
        # With experts on the CPU nothing is paged, and buffers would take room for nothing.
        own = replace(overlap, staging_layers=overlap.staging_layers if ffn_on_gpu else 0)
        for feeding in _feedings(policy.feeding, problem):
            fed = replace(problem, overlap=own, feeding=feeding)
            for kv_layers in kv_options:
                left = machine_bytes(problem.machine) - sum(
                    fixed_bytes(fed, placement.memory, kv_layers).values()
                )
                counts = resident_counts(
                    fed, imposed_experts(problem, placement.resident_experts), left
                )
                held = int(counts.sum())
                missing = max(0, held_bytes(fed, counts) - left)
                yield PipelineChoice(
                    missing_bytes=missing,
                    seconds=run_seconds(fed, kv_layers, held, ffn_on_gpu=ffn_on_gpu),
                    feeding=feeding,
                    kv_layers=kv_layers,
                    resident_experts=held,
                    ffn_on_gpu=ffn_on_gpu,
                )


def run_seconds(problem: Problem, kv_layers: int, experts_held: int, *, ffn_on_gpu: bool) -> float:
    """Return the seconds of the whole run by the roofline: the prompt, and decode steps at their
    mean context. The vocabulary projection is left out.
    """
    batch = problem.batch
    model = problem.model
    prompts, sequences = micro_batches(batch, problem.feeding)
    representatives, shape_of = layer_shapes(model)
    total = 0.0
    for shape, layer in enumerate(representatives):
        # Layers of one shape whose cache lies alike take equally long.
        for is_held in (True, False):
            number = int(((shape_of == shape) & (kv_on_gpu(problem, kv_layers) == is_held)).sum())
            if not number:
                continue
            prompt = Stage(
                sequences=batch.batch_size,
                tokens_per_sequence=batch.prompt_tokens,
                context_tokens=(batch.prompt_tokens + 1) / 2,
                micro_batch=prompts,
                is_prefill=True,
                kv_on_gpu=is_held,
                ffn_on_gpu=ffn_on_gpu,
                experts_held=experts_held / max(1, len(model.moe_layers)),
            )
            context = batch.prompt_tokens + batch.output_tokens / 2
            decode = replace(
                prompt,
                sequences=batch.num_sequences,
                tokens_per_sequence=1,
                context_tokens=context,
                micro_batch=sequences,
                is_prefill=False,
            )
            steps = batch.output_tokens - 1
            total += number * (
                layer_seconds(problem, layer, prompt)
                + (steps * layer_seconds(problem, layer, decode) if steps else 0.0)
            )
    return total


def _feedings(feeding: Feeding, problem: Problem) -> Iterator[Feeding]:
    """Yield the feeding with every pair of micro-batch sizes, larger ones first."""
    most = micro_batches(problem.batch, feeding)
    prompts, sequences = (
        [size] if size is not None else _powers_of_two(limit)
        for size, limit in zip(
            (feeding.prefill_micro_batch_sequences, feeding.micro_batch_sequences),
            most,
            strict=True,
        )
    )
    # Of points that take as long the first is kept, so that larger micro-batches come first.
    for prompt in prompts:
        for sequence in sequences:
            yield replace(
                feeding, prefill_micro_batch_sequences=prompt, micro_batch_sequences=sequence
            )


def _powers_of_two(limit: int) -> list[int]:
    """The limit itself, then the powers of two below it, descending."""
    return [
        limit,
        *(2**power for power in range(limit.bit_length() - 1, -1, -1) if 2**power < limit),
    ]


def _parts(policy: Policy) -> tuple[PagedPlacement, PagedDispatch, Overlap]:
    placement = policy.placement
    dispatch = policy.dispatch
    overlap = policy.overlap
    assert (
        isinstance(placement, PagedPlacement)
        and isinstance(dispatch, PagedDispatch)
        and isinstance(overlap, Overlap)
    )
    return placement, dispatch, overlap
