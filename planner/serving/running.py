"""What a user runs today, to be set beside a plan for the same requests."""

from hwprofiles import Machine
from sim.model.model import Model
from sim.serving.offload_options import OffloadSpec
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierSpec


def running_spec(
    offered: ServingSpec, machine: Machine, tiers: tuple[TierSpec, ...], offload: OffloadSpec | None
) -> ServingSpec:
    """Return what runs today: the instances that ``offered`` states, with these tiers behind each.

    If ``offered`` has prefill and decode apart, there is one instance. Unless stated, an instance
    has an equal share of all GPUs.
    """
    is_apart = offered.disaggregation is not None
    num_instances = 1 if is_apart else offered.num_instances
    # An instance that gets no GPU is refused where it is priced.
    share = max(1, machine.gpu.count // num_instances)
    instance = offered.instance.model_copy(update={"num_gpus": offered.instance.num_gpus or share})
    return offered.model_copy(
        update={
            "num_instances": num_instances,
            "instance": instance,
            "tiers": tiers,
            "offload": offload,
            "disaggregation": None,
        }
    )


def num_keeping_ranks(offered: ServingSpec, machine: Machine, model: Model) -> int:
    """Return how many ranks of an instance bring memory for KV.

    All ranks do, except for latent KV (MLA), which is the same on every rank. LMCache then keeps
    that of the first alone (save_only_first_rank, lmcache/v1/cache_engine.py, 0.5.6).
    """
    if any(layer.attention and layer.attention.expanded_elements for layer in model.layers):
        return 1
    return running_spec(offered, machine, (), None).instance.num_gpus or 1


def is_within(running: ServingSpec, offered: ServingSpec) -> bool:
    """Whether the tiers of ``running`` are among those that are offered, none of them larger."""
    sizes = {tier.name: _size(tier) for tier in offered.tiers}
    return all(_size(tier) <= sizes.get(tier.name, 0.0) for tier in running.tiers)


def _size(tier: TierSpec) -> float:
    return float("inf") if tier.capacity_bytes is None else tier.capacity_bytes
