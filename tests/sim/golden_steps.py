"""Scenarios at the step scale: one or more for each family of policies."""

from dataclasses import replace

from hwprofiles import Kind, Machine, Provenance
from sim.costs.cards import shared
from sim.policies import find_policy
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.policy import Policy
from sim.policies.prefetch.early import EarlyPrefetch
from sim.routing import uniform
from sim.routing.generated import GeneratedRouting
from sim.step.simulate import Scenario
from sim.workload.batch import Batch
from tests.sim.small import MODELS, ODD_MODELS, small_machine

SKEWED = GeneratedRouting(
    label="skewed and sticky",
    stated_provenance=Provenance(kind=Kind.ASSUMED, source="made up for tests", date="undated"),
    weights=tuple(
        tuple(1.0 + (3 * expert + 5 * layer) % 8 for expert in range(8)) for layer in range(3)
    ),
    kept=((0.0, 0.2), (1.0, 0.5)),
    accuracy=(((1, 0.9), (2, 0.7)),),
)
"""Popularity that differs by layer, and tokens that keep some of the experts of the token before."""

SLOWED_CPU = [
    {
        "busy": "h2d",
        "slows": "cpu",
        "rate_fraction": {"value": 0.7, "kind": "assumed", "source": "made up", "date": "undated"},
    }
]


def _machine(num_gpus: int = 1, link_bytes_per_s: float = 1e9, **parts: object) -> Machine:
    machine = small_machine(
        link_bytes_per_s=link_bytes_per_s,
        overhead_ns=500,
        latency_ns=1000,
        **parts,  # type: ignore[arg-type]
    )
    gpu = machine.gpu.model_copy(update={"count": num_gpus})
    return machine.model_copy(update={"gpu": gpu})


def _scenario(policy: str | Policy, seed: int, **changes: object) -> Scenario:
    """A short batch of the plain model, with half of each layer's experts on the GPU."""
    found = Scenario(
        machine=_machine(),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=14, output_tokens=7),
        policy=find_policy(policy) if isinstance(policy, str) else policy,
        routing=SKEWED,
        seed=seed,
        slots_per_layer=4,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


_SPILL = replace(
    find_policy("on-demand"),
    placement=UniformPlacement(),
    dispatch=SpillDispatch(takes_residents=False),
    overlap=Overlap(staging_experts=2),
)
_EARLY = replace(_SPILL, prefetch=EarlyPrefetch())
_LIVE_SPILL = replace(find_policy("lru"), dispatch=SpillDispatch(takes_residents=False))
_BEAMS = Batch(prompt_tokens=9, output_tokens=6, batch_size=2, beams=3)
_LONG = Batch(prompt_tokens=1100, output_tokens=3)

SCENARIOS: dict[str, Scenario] = {
    # Static: what is on the GPU stays there.
    "fiddler, beams, half the experts": Scenario(
        machine=small_machine(overhead_ns=500, latency_ns=1000),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=20, output_tokens=8, beams=4),
        policy=find_policy("fiddler"),
        routing=uniform(),
        seed=11,
        slots_per_layer=4,
    ),
    "mixtral-offloading, dense first layer and shared experts": Scenario(
        machine=small_machine(latency_ns=1000),
        model=MODELS["dense-first-and-shared"],
        batch=Batch(prompt_tokens=12, output_tokens=8),
        policy=find_policy("mixtral-offloading"),
        routing=uniform(),
        seed=12,
        slots_per_layer=3,
    ),
    "llama.cpp, long prompt": Scenario(
        machine=small_machine(3_500_000, overhead_ns=500),
        model=MODELS["windows-and-uneven-bytes"],
        batch=Batch(prompt_tokens=700, output_tokens=5),
        policy=find_policy("llama.cpp"),
        routing=uniform(),
        seed=13,
    ),
    "fiddler-v1, three prompts": _scenario(
        "fiddler-v1", 14, batch=Batch(prompt_tokens=14, output_tokens=7, batch_size=3)
    ),
    "zero-streaming, two prompts": _scenario(
        "zero-streaming", 15, batch=Batch(prompt_tokens=14, output_tokens=5, batch_size=2)
    ),
    "ktransformers, four prompts": _scenario(
        "ktransformers", 16, batch=Batch(prompt_tokens=14, output_tokens=7, batch_size=4)
    ),
    "kt-dynamic, a prompt that places anew": _scenario(
        "kt-dynamic", 17, batch=Batch(prompt_tokens=600, output_tokens=4)
    ),
    "on-demand, dense beside experts": _scenario(
        "on-demand", 18, model=ODD_MODELS["dense-beside-experts"], routing=uniform()
    ),
    "all-on-gpu, a window": _scenario(
        "all-on-gpu", 19, model=MODELS["windows-and-uneven-bytes"], slots_per_layer=None
    ),
    "misses split over CPU and link, interference": _scenario(
        _SPILL, 20, machine=_machine(link_bytes_per_s=6e9, interference=SLOWED_CPU), batch=_BEAMS
    ),
    "early copies, long prompt": _scenario(
        _EARLY, 21, machine=_machine(link_bytes_per_s=0.5e9), batch=_LONG, slots_per_layer=3
    ),
    # Carried: CPU experts that are joined one layer later. Both change tokens.
    "kt-deferral": _scenario("kt-deferral", 22),
    "daop": _scenario("daop", 23, model=MODELS["dense-first-and-shared"]),
    # Pipelined over micro-batches.
    "moe-lightning, seven prompts": _scenario(
        "moe-lightning", 24, batch=Batch(prompt_tokens=6, output_tokens=4, batch_size=7)
    ),
    # Live: a cache, a prefetcher or both decide while the run goes on.
    "lru": _scenario("lru", 25),
    "lfu, beams": _scenario("lfu", 26, batch=_BEAMS),
    "random": _scenario("random", 27),
    "belady, which knows the future": _scenario("belady", 28),
    "lru, misses split over CPU and link": _scenario(
        _LIVE_SPILL, 29, machine=_machine(link_bytes_per_s=6e9), batch=_BEAMS
    ),
    "mixtral-next-gate, written back": _scenario("mixtral-next-gate", 30),
    "moe-infinity, three prompts": _scenario(
        "moe-infinity", 31, batch=Batch(prompt_tokens=14, output_tokens=7, batch_size=3)
    ),
    "promoe, copies in pieces, interference": _scenario(
        "promoe", 32, machine=_machine(interference=SLOWED_CPU)
    ),
    "fmoe": _scenario("fmoe", 33),
    "adapmoe": _scenario("adapmoe", 34),
    "hybrimoe, beams": _scenario(
        "hybrimoe", 35, machine=_machine(link_bytes_per_s=6e9), batch=_BEAMS
    ),
    "pre-gated, which changes tokens": _scenario("pre-gated", 36),
    # Several GPUs.
    "lru on two GPUs": _scenario("lru", 37, machine=_machine(2), split=shared(_machine(2), 2)),
    "on-demand on three GPUs, a limited cache": _scenario(
        "on-demand",
        38,
        machine=_machine(3),
        split=shared(_machine(3), 3),
        slots_per_layer=None,
        expert_cache_bytes=400_000,
    ),
}
"""By name; machines and models are those of the tests, so that no library file changes them."""
