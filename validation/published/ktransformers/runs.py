"""The simulator runs that stand for KTransformers' placement grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

from hwprofiles import InputError, Machine, load_machine, pooled
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.model.model import Model
from sim.policies import Policy, find_policy, with_settings
from sim.routing import Routing, load_routing
from sim.step.simulate import Drawn, Scenario, draw, problem_of, run_drawn
from sim.workload.batch import Batch

PLACEMENTS: Mapping[str, str] = {
    "random": "kt-random",
    "uniform": "kt-uniform",
    "front-loading": "kt-front-loading",
    "frequency": "kt-frequency",
    "dynamic": "kt-dynamic",
}
"""The policy row of each column of the grid."""

BATCH = Batch(prompt_tokens=43, output_tokens=122)
"""The mean lengths of ShareGPT (fMoE, arXiv 2502.05370), on which the grid was measured.

The grid's own lengths are not published.
"""

NUM_REQUESTS = 2
"""Requests, one after another, over which a cell's time of a token is a mean."""

LAYER_NS = 126e3
"""Fixed ns of a layer for KTransformers' way to the CPU and back, without its experts.

Copies and the call of the pool are included. The time was measured on 4 x H100 and 2 x Xeon 8480+
with KTransformers' host callbacks (77 us once they were replaced). Source:
github.com/mystous/vllm_hybrid, record of 2026-09-09, section 5, row 2.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementBench:
    """A machine, a model, a routing and the requests' draws, to run any placement at any share.

    ``layer_ns`` is what every layer takes to reach the CPU and back. With 0, only layers with
    experts on the CPU go there, at the machine's costs.
    """

    machine: Machine
    model: Model
    routing: Routing
    seed: int
    draws: tuple[Drawn, ...]
    layer_ns: float = LAYER_NS

    def tokens_per_s(self, placement: str, share: float) -> float:
        """Decoded tokens a second of one sequence.

        Raises InputError where the share does not fit.
        """
        return 1.0 / mean(
            self._tpot_s(self._policy(placement, share), number)
            for number in range(len(self.draws))
        )

    def _policy(self, placement: str, share: float) -> Policy:
        link = self.machine.link
        call = self.machine.cpu.call_overhead_ns
        # The simulator charges these by itself where experts run on the CPU; only the rest is
        # added.
        charged_ns = link.h2d.latency_ns.effective + link.d2h.latency_ns.effective + call.effective
        return policy_of(placement, share, hand_over_ns=round(max(0.0, self.layer_ns - charged_ns)))

    def _tpot_s(self, policy: Policy, number: int) -> float:
        scenario = _scenario(self.machine, self.model, self.routing, policy, self.seed + number)
        problem = problem_of(scenario)
        residency = policy.placement.place(problem)
        if isinstance(residency, Infeasible):
            raise InputError(
                f"{policy.name} on {self.machine.name}: {residency.reason} ({residency.missing_bytes} bytes missing)"
            )
        return run_drawn(scenario, problem, residency, self.draws[number]).metrics.tpot_s


def bench(
    seed: int,
    *,
    routing: Routing | None = None,
    layer_ns: float = LAYER_NS,
    num_requests: int = NUM_REQUESTS,
) -> PlacementBench:
    """Return the grid's testbed: its pooled machine, Qwen3-Next in FP8, and the routing shipped for
    it.
    """
    model = load_model("qwen3-next-80b-a3b", "fp8")
    routing = routing or load_routing(None, model)
    machine = testbed()
    # Draws depend on the feeding alone, which all placements share, so any policy will do.
    policy = policy_of("frequency", 0.5)
    draws = (
        draw(_scenario(machine, model, routing, policy, seed + number), policy.feeding)
        for number in range(num_requests)
    )
    return PlacementBench(
        machine=machine,
        model=model,
        routing=routing,
        seed=seed,
        draws=tuple(draws),
        layer_ns=layer_ns,
    )


def testbed() -> Machine:
    """The grid's machine, its four cards taken as one."""
    return pooled(load_machine("ktransformers-4x4090"))


def policy_of(placement: str, share: float, *, hand_over_ns: int = 0) -> Policy:
    """Return the policy of a column, with that share of all experts on the GPU.

    A layer's experts run in one call. The dynamic column re-places experts after any prompt.
    """
    settings = {
        "gpu_experts_fraction": str(share),
        "groups_experts": "true",
        "hand_over_ns": str(hand_over_ns),
    }
    if placement == "dynamic":
        settings["min_prompt_tokens"] = "1"
    return with_settings(find_policy(PLACEMENTS[placement]), settings)


def _scenario(
    machine: Machine, model: Model, routing: Routing, policy: Policy, seed: int
) -> Scenario:
    return Scenario(
        machine=machine, model=model, batch=BATCH, policy=policy, routing=routing, seed=seed
    )
