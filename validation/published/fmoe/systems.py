"""The systems that fMoE is compared with, and the runs that stand for its measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hwprofiles import InputError, load_machine
from hwprofiles.units import GB, NS_PER_MS
from sim.costs.cards import shared
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.policies import Policy, find_policy, with_settings
from sim.policies.placement.common import CommonSlotsPlacement
from sim.policies.prefetch.next_gate import mixtral_accuracy
from sim.step.metrics import Metrics
from sim.step.simulate import Scenario, simulate
from sim.workload.batch import Batch
from validation.published.fmoe.host_cost import layer_overhead_ns
from validation.published.fmoe.readings import ADOPTED, Answers
from validation.published.fmoe.routing import QWEN_NEXT_GATE, SHARPNESS, structured_routing

MACHINE = "fmoe-6x3090"
NUM_GPUS = 6
DISTANCES: Mapping[str, int] = {"mixtral-8x7b": 3, "qwen1.5-moe-a2.7b": 6, "phi-3.5-moe": 4}
"""The paper's prefetch distance d of each model."""
BATCHES: Mapping[str, Batch] = {
    "LMSYS": Batch(prompt_tokens=37, output_tokens=127),
    "ShareGPT": Batch(prompt_tokens=43, output_tokens=122),
}
"""Batches of the two data sets, with the mean lengths that the paper gives every request."""
NUM_PAST_REQUESTS = 45
"""Requests whose iterations have gone through the store: 70 % of a data set's 64 prompts."""
NUM_LAYERS_AHEAD = 6
"""Layers that MoE-Infinity's prototype looks ahead in commit 051cb7e of the released code."""

BASELINES = ("DeepSpeed-Inference", "Mixtral-Offloading", "ProMoE", "MoE-Infinity")
"""The baselines from the slowest to the fastest, as published; fMoE is faster than all."""
SYSTEMS = (*BASELINES, "fMoE")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKnobs:
    """The input of a run besides its model and lengths: the swept knobs and the reading.

    ``layer_overhead_ms`` of None means the measured time of the model's loop.
    """

    layer_overhead_ms: float | None = None
    cache_bytes: int = 96 * GB
    sharpness: float = SHARPNESS
    reading: Answers = ADOPTED


BASE = RunKnobs()
"""The base point: 96 GB, so 16 GB of experts on each GPU, as in the released configuration.

No knob is set to a published figure.
"""


def policy_of(system: str, model: str, batch: Batch, reading: Answers = ADOPTED) -> Policy:
    """Return the row of the policy table that stands for a system in a reading."""
    policy = _BUILD[system](model, batch, reading)
    # Streamed whole layers have neither a cache nor single experts to serve.
    if policy.keeps_residency:
        return policy
    loads_all = reading.serving == "in turn, all" or policy.overlap.loads_all
    serving = {
        "overlap.in_turn": _word(reading.serving != "all links"),
        "overlap.loads_all": _word(loads_all),
    }
    return with_settings(
        policy, serving | {"cache.is_emptied": _word(reading.keeping == "emptied")}
    )


def _deepspeed(model: str, batch: Batch, reading: Answers) -> Policy:
    """Return DeepSpeed-Inference's policy in a reading: an LRU of experts, or whole layers.

    With whole layers, the loop brings all experts of a layer one by one; over all links, a layer is
    streamed whole.
    """
    if reading.deepspeed == "experts":
        return _one_budget(_eager_lru())
    if reading.serving == "all links":
        return with_settings(find_policy("zero-streaming"), {"staging_layers": "1"})
    return with_settings(
        _one_budget(_eager_lru()), {"overlap.in_turn": "true", "overlap.loads_all": "true"}
    )


def _eager_lru() -> Policy:
    """Return an LRU that runs experts one by one, as all systems of the testbed do."""
    return with_settings(find_policy("lru"), {"groups_experts": "false"})


def _mixtral_offloading(model: str, batch: Batch, reading: Answers) -> Policy:
    settings = {
        "accuracy_source": "routing",
        "is_copy_awaited": _word(reading.mixtral_offloading != "not awaited"),
        "copies_in_turn": _word(reading.mixtral_offloading == "one at a time"),
        "writes_back": "false",
        "overlap.prefill": "lanes",
        "overlap.decode": "lanes",
    }
    return _one_budget(with_settings(find_policy("mixtral-next-gate"), settings | _prompt(reading)))


def _promoe(model: str, batch: Batch, reading: Answers) -> Policy:
    settings = _prompt(reading)
    ahead = DISTANCES[model] - 1
    if reading.promoe == "gates":
        settings |= {"accuracy": str(_next_gate_mean(model) ** ahead), "stride": str(ahead)}
    return _one_budget(with_settings(find_policy("promoe"), settings))


def _moe_infinity(model: str, batch: Batch, reading: Answers) -> Policy:
    if reading.moe_infinity == "all positive":
        return find_policy("moe-infinity")
    loaded = load_model(model)
    settings = {"max_waiting": "none", "names_at_start": "true"}
    if reading.moe_infinity == "top-k of all layers":
        settings |= {"most_named": str(loaded.top_k)}
    else:
        settings |= {"most_named": str(loaded.num_experts // 4), "distance": str(NUM_LAYERS_AHEAD)}
    return with_settings(find_policy("moe-infinity"), settings)


def _fmoe(model: str, batch: Batch, reading: Answers) -> Policy:
    # Read by token, each token of a prompt leaves a map in the store, instead of one for all.
    tokens = batch.prompt_tokens - 1 if reading.prompt == "by token" else 0
    settings = {
        "distance": str(DISTANCES[model]),
        "num_stored": str(NUM_PAST_REQUESTS * (batch.output_tokens + tokens)),
        "by_token": _word(reading.prompt == "by token"),
        "names_all": _word(reading.fmoe == "all"),
        "pauses_on_miss": _word(reading.serving == "all links"),
    }
    return with_settings(find_policy("fmoe"), settings)


_BUILD: Mapping[str, Callable[[str, Batch, Answers], Policy]] = {
    "DeepSpeed-Inference": _deepspeed,
    "Mixtral-Offloading": _mixtral_offloading,
    "ProMoE": _promoe,
    "MoE-Infinity": _moe_infinity,
    "fMoE": _fmoe,
}


def _prompt(reading: Answers) -> dict[str, str]:
    """Return the settings for what a speculating prefetcher names of a prompt."""
    is_one = reading.prompt == "one iteration"
    return {"by_token": _word(not is_one), "names_top_k": _word(is_one)}


def _word(is_so: bool) -> str:
    return str(is_so).lower()


def scenario_of(system: str, model: str, batch: Batch, point: RunKnobs, seed: int) -> Scenario:
    """Return one request on the testbed, as a scenario."""
    loaded = load_model(model)
    machine = load_machine(MACHINE)
    overhead_ns = layer_overhead_ns(model, machine)
    if point.layer_overhead_ms is not None:
        overhead_ns = point.layer_overhead_ms * NS_PER_MS
    # Loaded again: the overhead includes launches, whose time the first load gave.
    machine = load_machine(MACHINE, (f"host.layer_overhead_ns={overhead_ns}",))
    return Scenario(
        machine=machine,
        model=loaded,
        batch=batch,
        policy=policy_of(system, model, batch, point.reading),
        routing=structured_routing(loaded, point.sharpness),
        seed=seed,
        split=shared(machine, NUM_GPUS),
        expert_cache_bytes=point.cache_bytes,
    )


def run(system: str, model: str, batch: Batch, point: RunKnobs, seed: int) -> Metrics:
    """The metrics of one request on the testbed. Raises InputError where nothing fits."""
    found = simulate(scenario_of(system, model, batch, point, seed))
    if isinstance(found, Infeasible):
        raise InputError(
            f"{system}, {model} on {MACHINE}: {found.reason} ({found.missing_bytes} bytes missing)"
        )
    return found.metrics


def _one_budget(policy: Policy) -> Policy:
    """Return the policy with one cache a GPU for all layers.

    12 GB on six GPUs are less than one slot of Mixtral's for each layer.
    """
    return replace(
        with_settings(policy, {"cache.is_global": "true"}), placement=CommonSlotsPlacement()
    )


def _next_gate_mean(model: str) -> float:
    return (
        QWEN_NEXT_GATE
        if model.startswith("qwen")
        else float(mixtral_accuracy(load_model(model).num_layers).mean())
    )
