"""Engines on 8 H100 GPUs, with and without tiers of KV, for all tables that need an engine."""

from collections.abc import Sequence

from hwprofiles import InputError, load_machine
from hwprofiles.units import format_bytes
from sim.model.library import load_model
from sim.serving import Cluster, ServingMetrics, prepare, serve
from sim.serving.setting import serving_setting
from sim.serving.sources import Source
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierSpec

MACHINE = "h100-x8"
BLOCK_TOKENS = 64
"""Tokens of a block of the GPU's cache.

The block is larger than vLLM's 16, to be quicker; prompts of 10,000 tokens lose nothing that shows.
"""


def cluster_of(model: str, num_gpus: int, tiers: Sequence[TierSpec] = ()) -> Cluster:
    """Return one instance with all defaults except for the blocks.

    Raises InputError if the model does not fit.
    """
    spec = ServingSpec.model_validate(
        {
            "instance": {"num_gpus": num_gpus, "block_tokens": BLOCK_TOKENS},
            "tiers": [dict(tier) for tier in tiers],
        }
    )
    found = prepare(serving_setting(spec, load_machine(MACHINE), load_model(model)))
    if not isinstance(found, Cluster):
        raise InputError(f"{found.reason}; {format_bytes(found.missing_bytes)} too much")
    return found


def metrics_of(cluster: Cluster, source: Source) -> ServingMetrics:
    """Serve the requests and return their metrics."""
    return serve(cluster, source).metrics


def fewest_gpus(model: str, counts: Sequence[int] = (1, 2, 4, 8)) -> int:
    """Return the fewest GPUs whose KV holds one context of the model's full length.

    Without that room vLLM does not start.
    """
    for count in counts:
        try:
            cluster = cluster_of(model, count)
        except InputError:
            # Too few GPUs for the model itself: the next count may do.
            continue
        assert cluster.max_context_tokens is not None
        if cluster.num_blocks * BLOCK_TOKENS >= cluster.max_context_tokens:
            return count
    raise InputError(f"{model} does not fit {max(counts)} GPUs of {MACHINE} with its whole context")
