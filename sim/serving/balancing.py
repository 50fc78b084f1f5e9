"""Choosing the instance that a request goes to."""

from collections.abc import Sequence as Items
from enum import StrEnum

from sim.serving.instance import Instance
from sim.serving.sequence import Sequence


class Balancing(StrEnum):
    """The rule by which a request is sent to an instance.

    ``LEAST_LIVE`` takes the instance with the fewest live requests. ``CACHE_AND_LOAD`` takes the
    instance with the fewest tokens to compute, the prompt's own included. Tokens of the prompt
    whose KV the instance's GPUs hold already do not count.
    """

    LEAST_LIVE = "least-live"
    CACHE_AND_LOAD = "cache-and-load"


def choose(instances: Items[Instance], sequence: Sequence, balancing: Balancing) -> Instance:
    """Return the instance that the rule takes now; the first of equals."""
    # With one instance there is nothing to weigh, and looking for the prompt's blocks takes time.
    if balancing is Balancing.LEAST_LIVE or len(instances) == 1:
        return min(instances, key=lambda instance: instance.num_live)
    return min(
        instances,
        key=lambda instance: (
            instance.pending_tokens + sequence.prompt_tokens - instance.found_tokens(sequence)
        ),
    )
