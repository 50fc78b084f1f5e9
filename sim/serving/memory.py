"""The KV that the GPUs of an instance hold beside the weights."""

from hwprofiles import Machine
from sim.costs.memory import Infeasible, activation_bytes
from sim.model.model import Model
from sim.serving.options import InstanceOptions
from sim.workload.batch import Batch, Feeding

MIN_BLOCKS = 2
"""The fewest blocks of KV: one for a sequence and one for its growth."""


def num_kv_blocks(machine: Machine, model: Model, options: InstanceOptions) -> int | Infeasible:
    """Return how many blocks of KV fit beside all weights and the activations of the largest step.

    All is split evenly over the GPUs. ``options.kv_tokens`` sets the number where it is stated. A
    layer with a sliding window is given KV for the whole context too. A state takes its bytes for
    each sequence. Infeasible where the blocks do not fit.
    """
    usable = int(
        machine.gpu.memory_bytes.effective * options.num_gpus * options.gpu_memory_fraction
    )
    step = Batch(prompt_tokens=options.max_step_tokens, output_tokens=1)
    # Logits are kept in 32 bits. The activations below have those of one sequence already.
    logits = 4 * (options.max_sequences - 1) * model.vocab
    states = options.max_sequences * model.state_bytes
    left = usable - model.total_bytes - activation_bytes(model, step, Feeding()) - logits - states
    wanted = (
        MIN_BLOCKS
        if options.kv_tokens is None
        else max(MIN_BLOCKS, options.kv_tokens // options.block_tokens)
    )
    block_bytes = options.block_tokens * max(
        1, model.kv_bytes_per_token
    )  # without attention a block is a count alone
    if left < wanted * block_bytes:
        what = "KV" if options.kv_tokens is None else f"{options.kv_tokens:,} tokens of KV"
        reason = f"{model.name} leaves no room for {what} on {options.num_gpus} GPU{'s' if options.num_gpus > 1 else ''} of {machine.name}"
        return Infeasible(reason=reason, missing_bytes=wanted * block_bytes - left)
    return left // block_bytes if options.kv_tokens is None else wanted
