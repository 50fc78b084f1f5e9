"""The instances that serve, their prices and KV, the tiers behind them, and which instances prefill
and decode.
"""

from dataclasses import dataclass, fields

from hwprofiles import InputError, Machine
from sim.costs.memory import Infeasible
from sim.model.model import Model
from sim.serving.balancing import Balancing
from sim.serving.gpu_prices import gpu_prices
from sim.serving.handover import Disaggregation
from sim.serving.memory import num_kv_blocks
from sim.serving.offload_options import OffloadOptions
from sim.serving.options import InstanceOptions
from sim.serving.prices import StepPrices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """``num_instances`` equal instances with ``instance.num_gpus`` GPUs each, and the tiers behind
    them.

    With ``disaggregation`` some of the instances prefill and the others decode. Their numbers must
    add up to ``num_instances``.
    """

    instance: InstanceOptions
    num_instances: int = 1
    offload: OffloadOptions | None = None
    disaggregation: Disaggregation | None = None
    balancing: Balancing = Balancing.LEAST_LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSetting(Deployment):
    """A deployment with its machine and the model that it serves. Raises InputError where they do
    not fit together.
    """

    machine: Machine
    model: Model

    def __post_init__(self) -> None:
        wanted = self.num_instances * self.instance.num_gpus
        present = self.machine.gpu.count
        if wanted > present:
            raise InputError(
                f"num_instances × instance.num_gpus must be at most the {present} GPUs of {self.machine.name}, got {wanted}"
            )
        # A recurrent state is of all tokens so far: unlike KV it cannot be cut at the end of a
        # prefix.
        has_states = any(layer.state_elements for layer in self.model.layers)
        if has_states and (
            self.instance.has_prefix_cache
            or self.offload is not None
            or self.disaggregation is not None
        ):
            raise InputError(
                f"{self.model.name} has layers with a recurrent state, which cannot be reused by prefix or moved: set "
                "instance.has_prefix_cache to false and leave offload and disaggregation out"
            )
        parts = self.disaggregation
        if parts is not None and parts.num_prefill + parts.num_decode != self.num_instances:
            raise InputError(
                f"disaggregation.num_prefill + num_decode must be num_instances, got {parts.num_prefill} + {parts.num_decode} and "
                f"{self.num_instances}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cluster(Deployment):
    """A deployment that is priced.

    ``prices``, ``num_blocks`` of KV and ``resident_bytes`` of weights on the GPUs are those of each
    instance. ``max_context_tokens`` is the longest context that an instance takes (None: no limit).
    """

    prices: StepPrices
    num_blocks: int
    max_context_tokens: int | None = None
    kv_bytes_per_token: int = 1
    resident_bytes: int = 0


def prepare(setting: ServingSetting) -> Cluster | Infeasible:
    """Return the cluster of a model that is on the GPUs whole; Infeasible where the weights leave
    no room for KV.
    """
    blocks = num_kv_blocks(setting.machine, setting.model, setting.instance)
    if isinstance(blocks, Infeasible):
        return blocks
    prices = gpu_prices(setting.machine, setting.model, setting.instance)
    return cluster_of(setting, prices, blocks, setting.model.total_bytes)


def cluster_of(
    setting: ServingSetting, prices: StepPrices, num_blocks: int, resident_bytes: int
) -> Cluster:
    """Return the setting as a cluster with these prices and this memory."""
    return Cluster(
        prices=prices,
        num_blocks=num_blocks,
        max_context_tokens=setting.model.max_context_tokens,
        kv_bytes_per_token=setting.model.kv_bytes_per_token,
        resident_bytes=resident_bytes,
        **{item.name: getattr(setting, item.name) for item in fields(Deployment)},
    )
