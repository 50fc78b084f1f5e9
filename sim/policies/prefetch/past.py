"""What a system has seen of earlier requests."""

from typing import TYPE_CHECKING

from sim.policies.foresight import Foresight
from sim.workload.batch import Batch

if TYPE_CHECKING:
    from sim.routing.base import Draw

MAX_PAST_TOKENS = 100_000
"""Most tokens drawn for earlier requests. These are as long as the run's, so of long ones there are
fewer.
"""


def past_requests(foresight: Foresight, count: int) -> "tuple[Draw, Batch]":
    """Return up to ``count`` requests of the run's lengths and routing that are not its own.

    The batch says how many they are, and 1 if there are none.
    """
    batch = foresight.problem.batch
    sequences = foresight.expert_ids.shape[:2]
    num_tokens = max(1, sequences[1])
    # Long requests are drawn in smaller number: what they teach grows with their tokens.
    most = max(1, min(count, MAX_PAST_TOKENS // num_tokens))
    draw = foresight.routing.other_requests(
        foresight.problem.model, most, num_tokens, foresight.seed, used=sequences
    )
    return draw, Batch(
        prompt_tokens=batch.prompt_tokens,
        output_tokens=batch.output_tokens,
        batch_size=max(1, len(draw.ids)),
    )
