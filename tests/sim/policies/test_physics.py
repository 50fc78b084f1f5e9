"""What holds for every machine: a faster one is never slower under the same decisions, time has no
scale of its own, and experts have no order where nothing breaks a tie by their number.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwprofiles import Provenance
from sim.model.model import Model
from sim.policies import POLICIES
from sim.policies.policy import Policy
from sim.routing.base import Routing
from sim.routing.generated import UNIFORM, GeneratedRouting
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.policies.other_machines import RESOURCES, faster
from tests.sim.small import MODELS, small_machine

MODEL = MODELS["plain"]
NUM_EXAMPLES = 12
"""Of each property and policy: a run takes milliseconds."""

BLIND = (
    "mixtral-offloading",
    "ktransformers",
    "kt-frequency",
    "kt-random",
    "kt-front-loading",
    "kt-uniform",
    "on-demand",
    "lru",
    "lfu",
    "random",
    "belady",
    "all-on-gpu",
    "zero-streaming",
)
"""Policies that decide by gates and counts alone: no price and no clock changes what they do."""
WITH_OWN_TIMES = ("moe-infinity", "fmoe")
"""Policies whose lookups take a stated time of the host, which no machine file has."""
OTHERS = sorted(set(POLICIES) - set(WITH_OWN_TIMES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelled(Routing):
    """Another routing's choices, its experts renamed in every layer: ``names`` [expert]."""

    origin: Routing
    names: tuple[int, ...]

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """See Routing."""
        found = self.origin.experts(model, num_sequences, num_tokens, seed)
        return np.array(self.names, np.int16)[found]

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """See Routing."""
        shares = np.empty((len(model.moe_layers), model.num_experts))
        shares[:, list(self.names)] = self.origin.popularity(model)
        return shares

    @property
    def provenance(self) -> Provenance:
        """See Routing."""
        return self.origin.provenance

    @property
    def description(self) -> str:
        """See Routing."""
        return f"{self.origin.description}, renamed"


def _skewed(seed: int) -> GeneratedRouting:
    """A popularity without ties, in another order in every layer."""
    generator = np.random.default_rng(seed)
    shape = (len(MODEL.moe_layers), MODEL.num_experts)
    weights = generator.permuted(1.5 ** np.arange(shape[0] * shape[1])).reshape(shape)
    rows = tuple(tuple(map(float, row)) for row in weights)
    return GeneratedRouting(label="skewed", stated_provenance=UNIFORM, weights=rows)


def _scenario(policy: Policy, seed: int, **changes: Any) -> Scenario:
    batch = Batch(prompt_tokens=7, output_tokens=5)
    machine = small_machine(
        memory_bytes=0.7 * MODEL.total_bytes + 2**20, overhead_ns=300, latency_ns=700
    )
    base = Scenario(
        machine=machine, model=MODEL, batch=batch, policy=policy, routing=_skewed(seed), seed=seed
    )
    return replace(base, **changes)


def _ran(scenario: Scenario) -> Run:
    run = simulate(scenario)
    assert isinstance(run, Run)
    return run


def _slack_ns(run: Run) -> int:
    """What rounding every task to whole nanoseconds may add up to."""
    return len(run.timeline.tasks)


@pytest.mark.parametrize("policy", BLIND)
@given(
    seed=st.integers(0, 10**6),
    factor=st.floats(1.0, 20.0),
    resources=st.sets(st.sampled_from(sorted(RESOURCES)), min_size=1),
)
@settings(max_examples=NUM_EXAMPLES)
def test_a_faster_machine_is_never_slower(
    policy: str, seed: int, factor: float, resources: set[str]
) -> None:
    """Any resources, any factor, for policies whose decisions know no prices."""
    scenario = _scenario(POLICIES[policy], seed, slots_per_layer=_slots(policy))
    run = _ran(scenario)
    machine = faster(scenario.machine, tuple(resources), factor)
    quicker = _ran(replace(scenario, machine=machine))
    assert quicker.timeline.makespan_ns <= run.timeline.makespan_ns + _slack_ns(run)


def _slots(policy: str) -> int | None:
    """Half of the experts, unless the policy has no choice."""
    return None if policy in ("all-on-gpu", "zero-streaming", "llama.cpp") else 4


@pytest.mark.parametrize("policy", OTHERS)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.25, 2.0, 8.0, 64.0]))
@settings(max_examples=NUM_EXAMPLES)
def test_time_has_no_scale(policy: str, seed: int, factor: float) -> None:
    """A machine that is faster throughout takes as many times less, whatever the policy decides."""
    scenario = _scenario(POLICIES[policy], seed)
    run = _ran(scenario)
    machine = faster(scenario.machine, tuple(RESOURCES), factor)
    scaled = _ran(replace(scenario, machine=machine))
    slack_ns = max(1.0, factor) * _slack_ns(run) + 10
    assert abs(scaled.timeline.makespan_ns * factor - run.timeline.makespan_ns) <= slack_ns


@pytest.mark.parametrize("policy", WITH_OWN_TIMES)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([2.0, 8.0]))
@settings(max_examples=NUM_EXAMPLES)
def test_times_of_lookups_are_all_that_keeps_a_scale(policy: str, seed: int, factor: float) -> None:
    """Once their lookups are as many times faster, these take as many times less too."""
    row = POLICIES[policy]
    stated = {field.name for field in fields(row.prefetch)} & {"lookup_ns", "update_ns"}
    times = {name: round(getattr(row.prefetch, name) / factor) for name in stated}
    scenario = _scenario(row, seed)
    run = _ran(scenario)
    machine = faster(scenario.machine, tuple(RESOURCES), factor)
    quick = replace(row, prefetch=replace(row.prefetch, **times))
    scaled = _ran(replace(scenario, machine=machine, policy=quick))
    slack_ns = factor * _slack_ns(run) + 10
    assert abs(scaled.timeline.makespan_ns * factor - run.timeline.makespan_ns) <= slack_ns


SUMS = ("fiddler", "ktransformers", "kt-frequency")
"""Experts of a layer run one after another on each device: their order changes no sum."""
UNORDERED = (*SUMS, "on-demand")
"""Copies and runs overlap: the order counts where experts have several tokens, as they go by their
numbers.
"""


@pytest.mark.parametrize(
    ("policy", "prompt_tokens"), [*((name, 1) for name in UNORDERED), *((name, 9) for name in SUMS)]
)
@given(seed=st.integers(0, 10**6), names=st.permutations(range(MODEL.num_experts)))
@settings(max_examples=NUM_EXAMPLES)
def test_experts_have_no_order(
    policy: str, prompt_tokens: int, seed: int, names: list[int]
) -> None:
    """Experts may be renamed in every layer, where no two of them are equally popular."""
    batch = Batch(prompt_tokens=prompt_tokens, output_tokens=6)
    scenario = _scenario(POLICIES[policy], seed, batch=batch, slots_per_layer=4)
    renamed = Relabelled(origin=scenario.routing, names=tuple(names))
    whole_s = _ran(scenario).metrics.end_to_end_s
    assert _ran(replace(scenario, routing=renamed)).metrics.end_to_end_s == whole_s
