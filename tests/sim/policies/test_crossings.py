"""Hidden states that go from card to card: what they cost, and who waits for them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import Machine, OtherGpu
from sim.costs.cards import laid_out, layer_split
from sim.costs.cost_model import CostModel
from sim.engine.task import TaskKind
from sim.policies import POLICIES, find_policy
from sim.routing import uniform
from sim.routing.recorded import RecordedRouting
from sim.step.simulate import Run, Scenario, check, fits_cards, simulate
from sim.workload.batch import Batch
from tests.sim.policies.test_several_gpus import accepted, machine_of, run_of, scenario_of
from tests.sim.small import MODELS, direction, small_model

STRAIGHT = direction(4e9, 300)


def one_expert(num_gpus: int, owner: int, **parts: object) -> Run:
    """A chain: every token selects the expert of one GPU, which holds it, in each of 3 layers."""
    model = small_model(num_experts=num_gpus, top_k=1)
    ids = np.full((50, 3, 1), owner, np.int16)
    return run_of(
        scenario_of(
            "on-demand",
            num_gpus,
            machine=machine_of(num_gpus, **parts),
            model=model,
            routing=RecordedRouting(name="constant", expert_ids=ids, num_experts=num_gpus),
            slots_per_layer=num_gpus,
            batch=Batch(prompt_tokens=5, output_tokens=4),
        )
    )


@pytest.mark.parametrize("parts", [{}, {"gpu_link": STRAIGHT}])
@pytest.mark.parametrize("num_gpus", [2, 3, 4])
def test_each_layer_crosses_there_and_back(num_gpus: int, parts: dict[str, object]) -> None:
    """Closed form: an expert on another GPU adds two crossings a layer and pass, to the nanosecond,
    whatever the number of GPUs; each is a copy down and one up, or one straight.
    """
    here, there = (one_expert(num_gpus, owner, **parts) for owner in (0, num_gpus - 1))
    costs = CostModel(machine=here.scenario.machine, model=here.scenario.model)
    sizes = np.array([5, 1, 1, 1]) * here.scenario.model.hidden * 2
    straight = costs.copy_across(sizes)
    crossing_ns = (
        sum(int(costs.copy(way, sizes, is_pinned=True).ns.sum()) for way in ("d2h", "h2d"))
        if straight is None
        else int(straight.ns.sum())
    )
    assert there.timeline.makespan_ns - here.timeline.makespan_ns == 3 * 2 * crossing_ns


@pytest.mark.parametrize("num_gpus", [2, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_runs_wait_for_hidden_states_and_layers_for_results(name: str, num_gpus: int) -> None:
    """Whatever the policy: what runs on another GPU begins behind a copy of the layer's hidden
    states there, and the next attention behind the copy of its results.
    """
    slots = None if name == "zero-streaming" else 3
    run = accepted(scenario_of(name, num_gpus, slots_per_layer=slots))
    if run is None:
        return
    line = run.timeline
    tasks = line.tasks
    names = np.array([resource.name for resource in line.platform.resources])
    lane = names[tasks.resource]
    is_hidden = tasks.kind == TaskKind.ACTIVATION_COPY
    for gpu in range(1, num_gpus):
        runs = np.flatnonzero((tasks.kind == TaskKind.EXPERT) & (lane == f"gpu{gpu}"))
        arrivals = np.flatnonzero(is_hidden & (lane == f"h2d{gpu}"))
        returns = np.flatnonzero(is_hidden & (lane == f"d2h{gpu}"))
        assert len(arrivals) == len(returns) > 0
        starts = line.start_ns[np.flatnonzero(tasks.kind == TaskKind.ATTENTION)]
        for there, back in zip(arrivals, returns, strict=True):
            inside = runs[(runs > there) & (runs < back)]
            assert len(inside) > 0
            assert line.start_ns[inside].min() >= line.end_ns[there]
            assert line.start_ns[back] >= line.end_ns[inside].max()
            # No attention lies between a layer's runs elsewhere and the return of their results.
            assert not ((starts >= line.end_ns[there]) & (starts < line.end_ns[back])).any()
        assert len(runs) == sum(
            ((runs > there) & (runs < back)).sum()
            for there, back in zip(arrivals, returns, strict=True)
        )


def unlike_cards(**parts: object) -> Machine:
    """Two cards of one kind and two of another, on a link of a tenth of the rate."""
    machine = machine_of(2, **parts)
    slow = machine.gpu.model_copy(
        update={
            "memory_bytes_per_s": machine.gpu.memory_bytes_per_s.model_copy(update={"value": 50e9})
        }
    )
    way = machine.link.h2d.model_copy(
        update={"bytes_per_s": machine.link.h2d.bytes_per_s.model_copy(update={"value": 1e8})}
    )
    link = machine.link.model_copy(update={"h2d": way, "d2h": way})
    return machine.model_copy(update={"other_gpus": (OtherGpu(gpu=slow, link=link),)})


def over_cards(machine: Machine, layers: tuple[int, ...], name: str = "on-demand") -> Scenario:
    """A policy with that many layers on each card."""
    model = small_model(num_layers=sum(layers))
    split = layer_split(machine, model, layers)
    return Scenario(
        machine=split.machines[0],
        model=laid_out(model, split),
        batch=Batch(prompt_tokens=7, output_tokens=5),
        policy=find_policy(name),
        routing=uniform(),
        seed=3,
        split=split,
    )


@pytest.mark.parametrize("layers", [(2, 1, 1, 2), (3, 0, 2, 1), (2, 2), (0, 0, 3, 3), (4, 0, 2)])
@pytest.mark.parametrize("parts", [{}, {"gpu_link": STRAIGHT}])
def test_a_border_costs_the_links_of_its_two_cards(
    layers: tuple[int, ...], parts: dict[str, object]
) -> None:
    """Down over the link of the card that is left and up over that of the card that is entered, or
    straight: once a border and pass, in both engines alike.
    """
    scenario = over_cards(unlike_cards(**parts), layers)
    run = run_of(scenario)
    assert scenario.split is not None
    tasks = run.timeline.tasks
    found = tasks.duration_ns[tasks.kind == TaskKind.ACTIVATION_COPY]
    sizes = run.passes.num_tokens.astype(np.int64) * scenario.model.hidden * 2
    expected: list[int] = []
    for left, entered in zip(scenario.split.machines, scenario.split.machines[1:], strict=False):
        leaving, entering = (
            CostModel(machine=card, model=scenario.model) for card in (left, entered)
        )
        straight = leaving.copy_across(sizes)
        if straight is not None:
            expected += straight.ns.tolist()
            continue
        expected += leaving.copy("d2h", sizes, is_pinned=True).ns.tolist()
        expected += entering.copy("h2d", sizes, is_pinned=True).ns.tolist()
    assert sorted(found.tolist()) == sorted(expected)
    again = run_of(replace(scenario, engine="reference"))
    assert again.timeline.digest == run.timeline.digest


@pytest.mark.parametrize("name", POLICIES)
def test_experts_on_the_cpu_use_their_cards_link(name: str) -> None:
    """Whatever the policy: no copy of hidden states takes another time than the link of a card that
    its layer leaves or enters.
    """
    scenario = over_cards(unlike_cards(), (2, 0, 2), name)
    if not fits_cards(scenario):
        return
    check(scenario)
    run = simulate(scenario)
    if not isinstance(run, Run):
        return
    assert scenario.split is not None
    tasks = run.timeline.tasks
    costs = [CostModel(machine=card, model=scenario.model) for card in scenario.split.machines]
    pinned = scenario.policy.overlap.is_pinned
    for task in np.flatnonzero(tasks.kind == TaskKind.ACTIVATION_COPY).tolist():
        layer = int(tasks.layer[task])
        last = scenario.model.num_layers - 1
        card = scenario.split.card_of_layer[layer if layer >= 0 else last]
        near = {int(card), int(scenario.split.card_of_layer[max(layer - 1, 0)])}
        way = run.timeline.platform.resources[tasks.resource[task]].name
        assert way in ("h2d", "d2h")
        priced = {
            int(costs[own].copy(way, int(tasks.num_bytes[task]), is_pinned=pinned).ns)  # type: ignore[arg-type]
            for own in near
        }
        assert int(tasks.duration_ns[task]) in priced


def test_a_second_card_for_nothing_costs_its_crossings() -> None:
    """Where the experts stay on the CPU, layers over two cards are slower than on one."""
    machine = machine_of(2)
    model = MODELS["plain"]
    split = layer_split(machine, model, (2, 1))
    one = scenario_of("ktransformers", 1, machine=machine, model=model, slots_per_layer=0)
    two = replace(one, machine=split.machines[0], model=laid_out(model, split), split=split)
    assert run_of(two).metrics.tpot_s > run_of(one).metrics.tpot_s


@given(
    number=st.integers(2, 4),
    rates=st.lists(st.floats(1e8, 64e9), min_size=2, max_size=2),
    latency_ns=st.integers(0, 10_000),
    longer_ns=st.integers(0, 10_000),
)
@settings(max_examples=25)
def test_a_narrower_link_never_helps(
    number: int, rates: list[float], latency_ns: int, longer_ns: int
) -> None:
    """On a chain, each step to a slower link, or a longer wait of its copies, takes no less."""
    slow, fast = sorted(rates)
    links = ((fast, latency_ns), (slow, latency_ns), (slow, latency_ns + longer_ns))
    times = [
        one_expert(number, 1, gpu_link=direction(rate, latency)).timeline.makespan_ns
        for rate, latency in links
    ]
    assert times == sorted(times)
    assert (times[2] > times[1]) == (longer_ns > 0)
