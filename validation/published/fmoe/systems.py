"""The systems that fMoE is compared with, and the runs that stand for its measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hwprofiles import InputError, load_machine
from hwprofiles.units import GB, NS_PER_MS
from sim.memory import Infeasible
from sim.metrics import Metrics
from sim.model_library import load_model
from sim.policies import Policy, find_policy, with_settings
from sim.policies.placement.common import CommonSlotsPlacement
from sim.policies.prefetch.next_gate import mixtral_accuracy
from sim.simulate import Scenario, simulate
from sim.workload import Batch
from validation.published.fmoe.readings import PAPER, RELEASED, Reading
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
VARIANTS = (
    "Mixtral-Offloading, all links at once",
    "Mixtral-Offloading, not awaited",
    "ProMoE, with its predictors",
    "MoE-Infinity, top-k of a layer",
    "fMoE, paused by misses",
    "fMoE, naming all experts",
)
"""Other readings of one system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a run is given besides its model and its lengths: the swept knobs, and how the evaluation is read."""

    layer_overhead_ms: float = 0.0
    cache_bytes: int = 12 * GB
    sharpness: float = SHARPNESS
    reading: Reading = PAPER


BASE = Point()
"""No host overhead but the machine's launches. 12 GB: what lets all three models offload half their experts."""
RELEASED_POINT = Point(cache_bytes=96 * GB, reading=RELEASED)
"""16 GB a GPU, as the released configuration has it."""


def policy_of(system: str, model: str, batch: Batch, reading: Reading = PAPER) -> Policy:
    """The row of the policy table that stands for a system, with what fMoE's evaluation says of it (section 6.1 and 6.2)."""
    name, _, variant = system.partition(", ")
    policy = _BUILD[name](model, batch, reading, variant)
    if reading.is_released:
        policy = with_settings(policy, {"cache.is_emptied": "true"})
    if reading.in_turn and not policy.keeps_residency:
        policy = with_settings(policy, {"overlap.in_turn": "true"})
    return policy


def _deepspeed(model: str, batch: Batch, reading: Reading, variant: str) -> Policy:
    if reading.fetches_experts:
        return _one_budget(find_policy("lru"))
    return with_settings(find_policy("zero-streaming"), {"staging_layers": "1"})


def _mixtral_offloading(model: str, batch: Batch, reading: Reading, variant: str) -> Policy:
    is_awaited = not reading.is_released and variant != "not awaited"
    settings = {
        "accuracy_source": "routing",
        "is_copy_awaited": _word(is_awaited),
        "copies_in_turn": _word(is_awaited and reading.in_turn and variant != "all links at once"),
        "by_token": _word(reading.by_token),
        "overlap.prefill": "lanes",
        "overlap.decode": "lanes",
    }
    return _one_budget(with_settings(find_policy("mixtral-next-gate"), settings | ({"writes_back": "false"} if reading.in_turn else {})))


def _promoe(model: str, batch: Batch, reading: Reading, variant: str) -> Policy:
    ahead = DISTANCES[model] - 1
    settings = {"by_token": _word(reading.by_token)}
    if variant != "with its predictors":
        settings |= {"accuracy": str(_next_gate_mean(model) ** ahead), "stride": str(ahead)}
    return _one_budget(with_settings(find_policy("promoe"), settings))


def _perfect(model: str, batch: Batch, reading: Reading, variant: str) -> Policy:
    return _one_budget(with_settings(find_policy("promoe"), {"accuracy": "1.0", "stride": str(DISTANCES[model])}))


def _moe_infinity(model: str, batch: Batch, reading: Reading, variant: str) -> Policy:
    names_top_k = reading.is_released or variant == "top-k of a layer"
    return with_settings(find_policy("moe-infinity"), {"names_top_k": "true", "max_waiting": "none"} if names_top_k else {})


def _fmoe(model: str, batch: Batch, reading: Reading, variant: str) -> Policy:
    tokens = batch.prompt_tokens - 1 if reading.by_token else 0
    settings = {
        "distance": str(DISTANCES[model]),
        "num_stored": str(NUM_PAST_REQUESTS * (batch.output_tokens + tokens)),
        "by_token": _word(reading.by_token),
        "names_all": _word(reading.is_released or variant == "naming all experts"),
        "pauses_on_miss": _word(not reading.in_turn or variant == "paused by misses"),
    }
    return with_settings(find_policy("fmoe"), settings)


_BUILD: Mapping[str, Callable[[str, Batch, Reading, str], Policy]] = {
    "DeepSpeed-Inference": _deepspeed,
    "Mixtral-Offloading": _mixtral_offloading,
    "ProMoE": _promoe,
    "MoE-Infinity": _moe_infinity,
    "fMoE": _fmoe,
    PERFECT: _perfect,
}


def _word(is_so: bool) -> str:
    return str(is_so).lower()


def scenario_of(system: str, model: str, batch: Batch, point: Point, seed: int) -> Scenario:
    """One request on the testbed."""
    loaded = load_model(model)
    return Scenario(
        machine=load_machine(MACHINE, (f"host.layer_overhead_ns={point.layer_overhead_ms * NS_PER_MS}",)),
        model=loaded,
        batch=batch,
        policy=policy_of(system, model, batch, point.reading),
        routing=structured_routing(loaded, point.sharpness),
        seed=seed,
        num_gpus=NUM_GPUS,
        expert_cache_bytes=point.cache_bytes,
    )


def run(system: str, model: str, batch: Batch, point: Point, seed: int) -> Metrics:
    """The metrics of one request on the testbed. Raises InputError where nothing fits."""
    found = simulate(scenario_of(system, model, batch, point, seed))
    if isinstance(found, Infeasible):
        raise InputError(f"{system}, {model} on {MACHINE}: {found.reason} ({found.missing_bytes} bytes missing)")
    return found.metrics


def _one_budget(policy: Policy) -> Policy:
    """With one cache a GPU for all layers: 12 GB on six GPUs are less than one slot of Mixtral's for each layer."""
    return replace(with_settings(policy, {"cache.is_global": "true"}), placement=CommonSlotsPlacement())


def _next_gate_mean(model: str) -> float:
    return QWEN_NEXT_GATE if model.startswith("qwen") else float(mixtral_accuracy(load_model(model).num_layers).mean())
