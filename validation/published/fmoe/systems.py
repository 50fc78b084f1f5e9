"""The systems that fMoE is compared with, and the runs that stand for its measurements."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hwprofiles import InputError, load_machine
from hwprofiles.units import GB, NS_PER_MS
from sim.memory import Infeasible
from sim.metrics import Metrics
from sim.model_library import load_model
from sim.policies import Policy, find_policy, with_settings
from sim.policies.placement.common import CommonSlotsPlacement
from sim.policies.prefetch.learned import LearnedPrefetch
from sim.policies.prefetch.next_gate import mixtral_accuracy
from sim.simulate import Scenario, simulate
from sim.workload import Batch
from validation.published.fmoe.routing import QWEN_NEXT_GATE, SHARPNESS, structured_routing

MACHINE, NUM_GPUS = "fmoe-6x3090", 6
DISTANCES: Mapping[str, int] = {"mixtral-8x7b": 3, "qwen1.5-moe-a2.7b": 6, "phi-3.5-moe": 4}
"""The models with the paper's prefetch distance d."""
BATCHES: Mapping[str, Batch] = {
    "LMSYS": Batch(prompt_tokens=37, output_tokens=127),
    "ShareGPT": Batch(prompt_tokens=43, output_tokens=122),
}
"""Mean lengths of the two data sets, which the paper gives every request."""
NUM_PAST_REQUESTS = 45
"""70 % of a data set's 64 prompts, whose iterations have gone through the store."""

BASELINES = ("DeepSpeed-Inference", "Mixtral-Offloading", "ProMoE", "MoE-Infinity")
"""From the slowest to the fastest, as published; fMoE is faster than all."""
SYSTEMS = (*BASELINES, "fMoE")
PERFECT = "a perfect predictor"
"""No system: every expert named d layers ahead, in ProMoE's place; what is to be had by foretelling better."""
VARIANTS = ("DeepSpeed-Inference, one layer ahead", "Mixtral-Offloading, one thing at a time", "ProMoE without its predictor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a run is given besides its model and its lengths: the swept knobs."""

    layer_overhead_ms: float = 30.0
    cache_bytes: int = 12 * GB
    sharpness: float = SHARPNESS


BASE = Point()
"""30 ms a layer: the least that brings TPOT to the 1 to 6 s of the paper. 12 GB: what lets all three models offload half their experts."""


def policy_of(system: str, model: str, batch: Batch) -> Policy:
    """The row of the policy table that stands for a system, with what fMoE's evaluation says of it (section 6.1 and 6.2)."""
    name, _, variant = system.partition(", ")
    if name == "DeepSpeed-Inference":
        return with_settings(find_policy("zero-streaming"), {} if variant else {"staging_layers": "1"})
    if name == "Mixtral-Offloading":
        lanes = {} if variant else {"overlap.prefill": "lanes", "overlap.decode": "lanes"}
        speculating = {"accuracy_source": "routing", "is_copy_awaited": "true"}
        return _one_budget(with_settings(find_policy("mixtral-next-gate"), speculating | lanes))
    if name == "ProMoE":
        return _one_budget(find_policy("promoe"))
    if name == "ProMoE without its predictor":
        distance = DISTANCES[model]
        speculation = LearnedPrefetch(accuracy=_next_gate_mean(model) ** distance, stride=distance)
        return replace(_one_budget(find_policy("promoe")), prefetch=speculation)
    if name == PERFECT:
        return replace(_one_budget(find_policy("promoe")), prefetch=LearnedPrefetch(accuracy=1.0, stride=DISTANCES[model]))
    if name == "MoE-Infinity":
        return find_policy("moe-infinity")
    num_stored = NUM_PAST_REQUESTS * batch.output_tokens
    return with_settings(find_policy("fmoe"), {"distance": str(DISTANCES[model]), "num_stored": str(num_stored)})


def run(system: str, model: str, batch: Batch, point: Point, seed: int) -> Metrics:
    """The metrics of one request on the testbed. Raises InputError where nothing fits."""
    loaded = load_model(model)
    scenario = Scenario(
        machine=load_machine(MACHINE, (f"host.layer_overhead_ns={point.layer_overhead_ms * NS_PER_MS}",)),
        model=loaded,
        batch=batch,
        policy=policy_of(system, model, batch),
        routing=structured_routing(loaded, point.sharpness),
        seed=seed,
        num_gpus=NUM_GPUS,
        expert_cache_bytes=point.cache_bytes,
    )
    found = simulate(scenario)
    if isinstance(found, Infeasible):
        raise InputError(f"{system}, {model} on {MACHINE}: {found.reason} ({found.missing_bytes} bytes missing)")
    return found.metrics


def _one_budget(policy: Policy) -> Policy:
    """With one cache a GPU for all layers: 12 GB on six GPUs are less than one slot of Mixtral's for each layer."""
    return replace(with_settings(policy, {"cache.is_global": "true"}), placement=CommonSlotsPlacement())


def _next_gate_mean(model: str) -> float:
    return QWEN_NEXT_GATE if model.startswith("qwen") else float(mixtral_accuracy(load_model(model).num_layers).mean())
