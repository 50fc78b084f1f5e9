"""The plain forward pass that every execution is compared with.

The pass has no lanes and no copies, and runs experts in the order of their numbers.
"""

import torch
from torch import Tensor

from sim.workload.batch import Batch, Passes
from validation.backend.forward_pass import ForwardPass, Sequences
from validation.backend.weights import Weights


def plain_forward(weights: Weights, batch: Batch, passes: Passes, prompts_SL: Tensor) -> Sequences:
    """Run the batch's prefill and decode in the order of its passes, and return its sequences."""
    with torch.inference_mode():
        sequences = Sequences(weights, batch, prompts_SL)
        for index in range(len(passes)):
            current = pass_of(weights, sequences, passes, index)
            for layer, own in enumerate(weights.layers):
                current.attend(layer, own.dense)
                if weights.architecture.layers[layer].is_moe:
                    tokens_E = current.select(layer, own.dense)
                    if weights.architecture.layers[layer].shared_intermediate:
                        current.feed_shared(own.dense)
                    for expert in tokens_E.nonzero()[0].tolist():
                        current.run_expert(expert, own.experts[expert])
                else:
                    current.feed_dense(own.dense)
            if ends_a_step(passes, index):
                current.finish(weights.top)
    return sequences


def pass_of(weights: Weights, sequences: Sequences, passes: Passes, index: int) -> ForwardPass:
    """Return the forward pass of number ``index``."""
    first = int(passes.first_sequence[index])
    rows = slice(first, first + int(passes.num_sequences[index]))
    return ForwardPass(
        weights,
        sequences,
        rows,
        int(passes.first_position[index]),
        int(passes.context_tokens[index]),
    )


def ends_a_step(passes: Passes, index: int) -> bool:
    """Whether the pass gives tokens; only the chunks of a prefill before the last give none."""
    return not (
        passes.is_prefill[index] and index + 1 < len(passes) and passes.is_prefill[index + 1]
    )
