"""Hit rates of the caches against a plain replay that shares no code with them, on drawn and on
recorded routing.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hwprofiles import load_machine
from sim.costs.memory import Residency
from sim.model.library import load_model
from sim.policies import POLICIES, find_policy, with_settings
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.policies.placement.limits import placed
from sim.policies.policy import Policy
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.routing import load_trace, uniform
from sim.routing.base import Routing
from sim.routing.generated import UNIFORM, GeneratedRouting
from sim.routing.library import load_routing
from sim.routing.replay import CachePolicy, hit_rates
from sim.step.execute import execute
from sim.step.lowering.slots import PREFETCHED_BYTES, Cached
from sim.step.simulate import Run, Scenario, draw, foresight_of, problem_of, simulate
from sim.workload.batch import Batch
from tests.shared_data import shared_data
from tests.sim.small import small_machine, small_model

KINDS = ("lru", "lfu", "belady")
SCORED = (*KINDS, "smoothed", "selective")
ALPHA = 0.5
SKEWED = GeneratedRouting(
    label="skewed",
    stated_provenance=UNIFORM,
    weights=tuple((8.0, 5.0, 3.0, 2.0, 1.0, 1.0, 0.5, 0.1) for _ in range(3)),
    kept=((0.0, 0.3),),
)


class _Layer:
    """One layer's cache in plain Python.

    All experts of a gate are looked up before any comes in; hits are used before misses.
    """

    def __init__(
        self, kind: str, tokens: NDArray[np.int32], held: set[int], slots: int, top_k: int
    ) -> None:
        self.kind, self.tokens, self.held, self.slots, self.top_k = kind, tokens, held, slots, top_k
        self.visits, self.used, self.score = (np.zeros(tokens.shape[1]) for _ in range(3))
        self.clock = 0

    def hits(self) -> int:
        """Tokens of experts that were held when their gates selected them."""
        return sum(self.gate(index) for index in range(len(self.tokens)))

    def gate(self, index: int) -> int:
        row = self.tokens[index]
        selected = np.flatnonzero(row).tolist()
        found = [expert for expert in selected if expert in self.held]
        missing = [expert for expert in selected if expert not in self.held]
        self.note(row, found + missing)
        for expert in missing:
            if len(self.held) < self.slots:
                self.held.add(expert)
            elif self.slots:
                self.replace(index, expert, set(selected))
        return int(row[found].sum())

    def note(self, row: NDArray[np.int32], order: list[int]) -> None:
        for expert in order:
            self.clock += 1
            self.visits[expert] += 1
            self.used[expert] = self.clock
        shares = row / row.sum()
        larger = (shares[:, None] > shares).sum(
            axis=0
        )  # of the experts before each of which that many go
        self.score = (1 - ALPHA) * self.score + ALPHA * np.where(
            larger < 2 * self.top_k, shares.astype(np.float32), 0
        )

    def replace(self, index: int, newcomer: int, selected: set[int]) -> None:
        """A newcomer takes the place of another, one that its gate selected too only where no other
        is left.
        """
        others = self.held if self.kind == "belady" else self.held - selected or self.held
        leaver = min(others, key=lambda expert: self.worth(expert, index))
        if (
            self.kind in ("belady", "selective")
            and self.worth(leaver, index)[0] >= self.worth(newcomer, index)[0]
        ):
            return
        self.held = self.held - {leaver} | {newcomer}

    def worth(self, expert: int, index: int) -> tuple[float, ...]:
        """The least leaves."""
        if self.kind == "belady":
            following = np.flatnonzero(self.tokens[index + 1 :, expert])
            return -float(following[0] if len(following) else len(self.tokens)), expert
        if self.kind in ("smoothed", "selective"):
            return self.score[expert], expert
        return self.visits[expert] * (self.kind == "lfu"), self.used[expert], expert


def _check(kind: str, run: Run, slots: int, *, is_cold: bool = False) -> None:
    """The run's hits are those of the replay in every layer."""
    hits = 0
    for layer in run.scenario.model.moe_layers:
        held = set() if is_cold else set(np.flatnonzero(run.residency.experts[layer]).tolist())
        hits += _Layer(kind, run.tokens[:, layer], held, slots, run.scenario.model.top_k).hits()
    assert run.metrics.expert_hit_rate == hits / run.tokens.sum()


@pytest.mark.parametrize("routing", [uniform(), SKEWED], ids=["uniform", "skewed"])
@pytest.mark.parametrize("slots", [0, 1, 2, 3, 6, 8])
@pytest.mark.parametrize("kind", SCORED)
def test_hits_are_those_of_a_plain_replay(kind: str, slots: int, routing: Routing) -> None:
    """Even with fewer slots than a token selects experts, and with a prompt of several tokens,
    which is one gate a layer.
    """
    for batch in (
        Batch(prompt_tokens=1, output_tokens=60),
        Batch(prompt_tokens=3, output_tokens=30, batch_size=2),
    ):
        _check(kind, _run(kind, routing, slots, batch=batch), slots)


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_generated_trace_hits_as_in_the_statistics(kind: str, slots: int, engine: str) -> None:
    """From an empty cache, decode only: exactly what ``rosin routing stats`` replays."""
    run = _run(kind, SKEWED, slots, engine=engine, starts_empty="true")
    _check(kind, run, slots, is_cold=True)
    ids = SKEWED.experts(run.scenario.model, 1, 60, run.scenario.seed)[0]
    rates = hit_rates(ids, run.scenario.model.num_experts, slots, CachePolicy[kind.upper()])
    assert run.metrics.expert_hit_rate == pytest.approx(rates.mean(), rel=1e-12)


@pytest.mark.parametrize("share", [0.0625, 0.125, 0.25, 0.5])
@pytest.mark.parametrize("name", ["intent", "summary", "translation"])
def test_a_recorded_trace_hits_as_in_the_statistics(name: str, share: float) -> None:
    """DeepSeek-V2-Lite, 2,000 tokens of each trace, from an empty cache: the same number of hits in
    run and replay.
    """
    model = load_model("deepseek-v2-lite")
    path = shared_data(f"routing/deepseek-v2-lite-{name}.npz")
    ids, slots = load_trace(path).expert_ids[:2000], round(share * model.num_experts)
    for kind in KINDS:
        run = simulate(
            Scenario(
                machine=load_machine("h100"),
                model=model,
                batch=Batch(prompt_tokens=1, output_tokens=2000),
                policy=with_settings(find_policy(kind), {"starts_empty": "true"}),
                routing=load_routing(str(path), model),
                slots_per_layer=slots,
            )
        )
        assert isinstance(run, Run)
        rates = hit_rates(ids, model.num_experts, slots, CachePolicy[kind.upper()])
        assert round(run.metrics.expert_hit_rate * ids.size) == round(rates.mean() * ids.size), kind


@pytest.mark.parametrize("share", [0.125, 0.25, 0.5])
@pytest.mark.parametrize("name", ["intent", "summary", "translation"])
def test_hits_on_recorded_routing(name: str, share: float) -> None:
    """DeepSeek-V2-Lite, 150 tokens of a real trace: the same, and Belady, LRU, LFU and random in a
    plausible order.
    """
    model = load_model("deepseek-v2-lite")
    routing = load_routing(str(shared_data(f"routing/deepseek-v2-lite-{name}.npz")), model)
    slots = round(share * model.num_experts)
    rates = {}
    for kind in (*KINDS, "random"):
        scenario = Scenario(
            machine=load_machine("h100"),
            model=model,
            batch=Batch(prompt_tokens=1, output_tokens=150),
            policy=find_policy(kind),
            routing=routing,
            slots_per_layer=slots,
        )
        run = simulate(scenario)
        assert isinstance(run, Run)
        rates[kind] = run.metrics.expert_hit_rate
        if kind != "random":
            _check(kind, run, slots)
    assert rates["belady"] > max(rates["lru"], rates["lfu"])
    assert (
        rates["lfu"] > rates["random"] and rates["lru"] > rates["random"] - 0.03
    )  # barely more slots than a token selects


@pytest.mark.parametrize("slots", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_policy_without_prefetch_hits_more_than_belady(slots: int, seed: int) -> None:
    """At as many slots in every layer, decode only."""
    best = _run("belady", SKEWED, slots, seed).metrics.expert_hit_rate
    rivals = [
        name
        for name, policy in POLICIES.items()
        if policy.is_lossless
        and not policy.prefetch.is_active
        and not policy.cache.is_global
        and name not in {"zero-streaming", "llama.cpp", "all-on-gpu"}
    ]
    assert {
        "lru",
        "lfu",
        "random",
        "fiddler",
        "ktransformers",
        "on-demand",
        "mixtral-offloading",
    } <= set(rivals)
    for name in rivals:
        assert _run(name, SKEWED, slots, seed).metrics.expert_hit_rate <= best, name


@pytest.mark.parametrize("kind", ["lru", "lfu", "random", "belady"])
def test_one_budget_over_all_layers(kind: str) -> None:
    """With is_global, layers trade slots: the number held stays, and Belady still hits at least as
    often as with quotas.
    """
    apart, common = _run(kind, SKEWED, 3), _run(kind, SKEWED, 3, is_global="true")
    assert common.metrics.num_resident_experts == apart.metrics.num_resident_experts
    assert common.timeline.digest != apart.timeline.digest
    if kind == "belady":
        assert common.metrics.expert_hit_rate >= apart.metrics.expert_hit_rate


def _run(
    name: str,
    routing: Routing,
    slots: int,
    seed: int = 5,
    batch: Batch | None = None,
    engine: str = "fast",
    **settings: str,
) -> Run:
    run = simulate(
        Scenario(
            machine=small_machine(),
            model=small_model(),
            batch=batch or Batch(prompt_tokens=1, output_tokens=60),
            policy=with_settings(_policy(name), settings),
            routing=routing,
            seed=seed,
            engine=engine,
            slots_per_layer=slots,
        )
    )
    assert isinstance(run, Run)
    return run


def _policy(name: str) -> Policy:
    """A row, or the plain cache with HybriMoE's score in place of its own."""
    if name not in ("smoothed", "selective"):
        return find_policy(name)
    return replace(
        find_policy("lru"),
        name=name,
        cache=SmoothedGateCache(alpha=ALPHA, is_selective=name == "selective"),
    )


@pytest.mark.parametrize("is_selective", [False, True])
def test_gate_scores_stay_shares_where_experts_come_ahead(is_selective: bool) -> None:
    """A prefetched expert's S is no time of use: S is a mean of shares, so at most 1."""
    policy = replace(
        find_policy("lru"),
        cache=SmoothedGateCache(is_selective=is_selective),
        prefetch=NextGatePrefetch(),
    )
    model = load_model("mixtral-8x7b", "4bit")
    scenario = Scenario(
        machine=load_machine("desktop-rtx-4090-ddr5"),
        model=model,
        batch=Batch(prompt_tokens=4, output_tokens=20),
        policy=policy,
        # Gates that give unselected experts a share as well, so that one can gain while it is away.
        routing=load_routing("mixtral-8x7b-gates", model),
        slots_per_layer=2,
    )
    problem = problem_of(scenario)
    residency = placed(policy.placement, problem)
    assert isinstance(residency, Residency)
    foresight = foresight_of(scenario, problem, residency, draw(scenario, policy.feeding))
    found = execute(policy, residency, foresight, "fast")
    assert isinstance(found.cached, Cached)
    assert found.cached.counters[PREFETCHED_BYTES] > 0
    assert 0 < found.cached.scores.max() <= 1
