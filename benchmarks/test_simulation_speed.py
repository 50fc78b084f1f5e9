"""Measure what a simulated run costs, from decisions to timeline, against the reference engine.

``python -m pytest -s benchmarks/test_simulation_speed.py`` prints the second table of
docs/performance.md. Ratios are of best times taken in one process, with everything compiled before.
The tests assert what was computed, not how fast.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from hwprofiles import load_machine
from sim.costs.memory import Residency
from sim.engine import engine
from sim.model.library import load_model
from sim.policies import POLICIES, Policy
from sim.policies.foresight import Foresight
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.routing import load_routing
from sim.step.execute import execute
from sim.step.lowering.decisions import decide
from sim.step.lowering.lower import Lowered, lower
from sim.step.simulate import Scenario, draw, problem_of
from sim.workload.batch import Batch

LAYERS = 32


def best_s(action: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest of several calls in seconds, after one call that compiles."""
    action()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def scenario_of(
    policy: Policy, output_tokens: int = 257, model_name: str = "mixtral-8x7b"
) -> Scenario:
    """Return a decode of ``output_tokens`` - 1 tokens after a prompt of one token.

    The machine is a server with a GPU of 48 GB and 112 CPU cores.
    """
    model = load_model(model_name)
    return Scenario(
        machine=load_machine("fiddler-e2"),
        model=model,
        batch=Batch(prompt_tokens=1, output_tokens=output_tokens),
        policy=policy,
        routing=load_routing(None, model),
    )


class Prepared:
    """A scenario whose placement and draw are made, ready to be decided and run."""

    def __init__(self, scenario: Scenario) -> None:
        """Place the model and draw the routing."""
        self.scenario, self.problem = scenario, problem_of(scenario)
        residency = scenario.policy.placement.place(self.problem)
        assert isinstance(residency, Residency)
        self.residency, self.drawn = residency, draw(scenario, scenario.policy.feeding)

    def lowered(self) -> Lowered:
        """Make the policy's decisions and lower them to a program."""
        passes, tokens = self.drawn.passes, self.drawn.tokens
        return lower(
            self.problem,
            passes,
            tokens,
            decide(self.scenario.policy, self.problem, self.residency, passes, tokens),
        )

    def digest(self, engine_name: str) -> str:
        """Run everything, decisions included, and return the digest of the timeline."""
        drawn = self.drawn
        foresight = Foresight(
            problem=self.problem,
            residency=self.residency,
            routing=self.scenario.routing,
            passes=drawn.passes,
            tokens=drawn.tokens,
            expert_ids=drawn.expert_ids,
            seed=0,
        )
        return execute(self.scenario.policy, self.residency, foresight, engine_name).timeline.digest


def show(what: str, reference_s: float, fast_s: float) -> None:
    """Print one row: both times in ms, and their ratio."""
    print(
        f"\n| {what} | {reference_s * 1e3:.0f} ms | {fast_s * 1e3:.2f} ms | {reference_s / fast_s:.0f} |"
    )


def test_static_decode() -> None:
    """Both engines agree on 256 tokens of Mixtral with static CPU experts; print their times.

    The fast engine is timed alone, and with decisions and lowering.
    """
    prepared = Prepared(scenario_of(POLICIES["ktransformers"]))
    program = prepared.lowered().program
    assert len(program.tasks) > 256 * LAYERS * 5
    fast, reference = engine("fast"), engine("reference")
    assert fast.run_program(program).digest == reference.run_program(program).digest
    slow_s = best_s(lambda: reference.run_program(program), 2)
    show(
        f"engine: {len(program.tasks):,} tasks",
        slow_s,
        best_s(lambda: fast.run_program(program), 20),
    )
    show(
        "decisions, lowering and engine",
        slow_s,
        best_s(lambda: fast.run_program(prepared.lowered().program), 20),
    )


def test_cache_with_prefetch() -> None:
    """Both engines agree on 256 tokens of Mixtral under LRU with next-gate prefetch.

    Print their times, which include the policy's decisions.
    """
    prepared = Prepared(scenario_of(replace(POLICIES["lru"], prefetch=NextGatePrefetch())))
    assert prepared.digest("fast") == prepared.digest("reference")
    show(
        "LRU with next-gate prefetch",
        best_s(lambda: prepared.digest("reference"), 2),
        best_s(lambda: prepared.digest("fast")),
    )


@pytest.mark.parametrize(
    ("model_name", "output_tokens"),
    [("mixtral-8x7b", 65), ("mixtral-8x7b", 257), ("mixtral-8x7b", 1025), ("qwen3-30b-a3b", 257)],
)
def test_growth(model_name: str, output_tokens: int) -> None:
    """Print how the cost of a static run grows with tokens, layers and experts."""
    prepared = Prepared(scenario_of(POLICIES["ktransformers"], output_tokens, model_name))
    num_tasks = len(prepared.lowered().program.tasks)
    took_s = best_s(lambda: engine("fast").run_program(prepared.lowered().program))
    shape = f"{prepared.scenario.model.num_layers} layers, top-{prepared.scenario.model.top_k} of {prepared.scenario.model.num_experts}"
    what = f"{model_name}, {shape}, {output_tokens - 1} tokens"
    print(
        f"\n| {what} | {num_tasks:,} tasks | {took_s * 1e3:.1f} ms | {took_s / num_tasks * 1e9:.0f} ns |"
    )
