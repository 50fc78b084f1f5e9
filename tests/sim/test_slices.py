"""Cards that hold slices of every matrix: what each holds, what passes between them, and whether a
second card gains anything.
"""

from dataclasses import replace

import pytest

from hwprofiles import InputError, Machine, load_machine
from planner.bounds import mean_bounds
from planner.search.setting import Setting
from sim.costs.cards import shared
from sim.costs.cost_model import CostModel
from sim.costs.slices import SlicedCosts, SplitMode, slice_of
from sim.model.library import load_model
from sim.policies import POLICIES
from sim.policies.placement.fitting import bytes_by_gpu
from sim.step.simulate import Scenario, draw, problem_of
from sim.workload.batch import Batch
from tests.sim.policies.test_several_gpus import accepted, machine_of, run_of, scenario_of

SLICED = (SplitMode.TENSOR, SplitMode.ROW)
TWO = load_machine("desktop-rtx-4090-ddr5", ("gpu.count=2",))


def _scenario(name: str, mode: SplitMode, machine: Machine, **others: object) -> Scenario:
    split = shared(machine, machine.gpu.count, mode)
    return scenario_of(
        name,
        machine.gpu.count,
        machine=machine,
        split=split,
        **{"slots_per_layer": None, **others},
    )


@pytest.mark.parametrize("mode", SLICED)
@pytest.mark.parametrize("name", POLICIES)
def test_engines_agree(name: str, mode: SplitMode) -> None:
    """On three cards, to the nanosecond, for every policy that does not pipeline layers."""
    slots = None if name == "zero-streaming" else 4
    scenario = _scenario(name, mode, machine_of(3), slots_per_layer=slots)
    fast, slow = accepted(scenario), accepted(replace(scenario, engine="reference"))
    policy = scenario.policy
    is_refused = policy.feeding.is_pipelined or policy.tuning is not None
    assert (fast is None) == (slow is None)
    assert fast is not None or is_refused or name == "all-on-gpu"
    if fast is not None and slow is not None:
        assert fast.timeline.digest == slow.timeline.digest
        assert fast.metrics == slow.metrics


def test_cards_beyond_the_key_heads_have_copies() -> None:
    """Mixtral has 8 heads of keys: 16 cards keep one each, two cards the same one."""
    model = load_model("mixtral-8x7b")
    sizes = [slice_of(model, cards, SplitMode.TENSOR).kv_bytes_per_token for cards in (1, 8, 16)]
    assert sizes == [sizes[0], sizes[0] / 8, sizes[0] / 8]


@pytest.mark.parametrize(
    ("name", "mode", "number"),
    [
        ("mixtral-8x7b", SplitMode.TENSOR, 2),
        ("mixtral-8x7b", SplitMode.ROW, 8),
        ("deepseek-v2-lite", SplitMode.ROW, 10),
    ],
)
def test_an_exchange_goes_down_and_up(name: str, mode: SplitMode, number: int) -> None:
    """Closed form: attention takes its slice's time and each exchange a copy each way and a kernel."""
    model = load_model(name)
    costs = SlicedCosts(machine=TWO, model=model, num_cards=2, mode=mode)
    alone = CostModel(machine=TWO, model=slice_of(model, 2, mode))
    size = 5 * model.hidden * model.activation_bytes
    each = sum(int(alone.copy(way, size, is_pinned=True).ns) for way in ("d2h", "h2d"))
    each += round(TWO.gpu.kernel_ns.effective)
    asked = (0, 5, 1, 0, 5)
    extra = costs.attention("gpu", *asked).ns - alone.attention("gpu", *asked).ns
    assert extra == number * each
    assert (
        costs.attention("cpu", *asked).ns
        == CostModel(machine=TWO, model=model).attention("cpu", *asked).ns
    )


def test_memory_of_each_card_is_kept() -> None:
    """Two cards that split experts hold about twice as many; those that split rows, what the first
    has room for.
    """
    model = load_model("mixtral-8x7b", "8bit")
    batch = Batch(prompt_tokens=4, output_tokens=4)
    held = {}
    for mode in (None, *SLICED):
        machine = TWO if mode else load_machine("desktop-rtx-4090-ddr5")
        scenario = _scenario(
            "fiddler", mode or SplitMode.EXPERTS, machine, model=model, batch=batch
        )
        run = run_of(scenario)
        problem = problem_of(scenario)
        memory = machine.gpu.memory_bytes.effective
        assert sum(bytes_by_gpu(problem, run.residency.experts)) <= memory
        assert run.metrics.peak_gpu_memory_bytes <= memory
        held[mode] = run.metrics.num_resident_experts
    one = held[None]
    assert 2 * one <= held[SplitMode.TENSOR] <= 2.2 * one
    assert one < held[SplitMode.ROW] < 1.2 * one


def test_copies_of_slices_use_every_link() -> None:
    """A missing expert comes over both links at once, in half the time but for the latency."""
    model = load_model("mixtral-8x7b")
    size = model.expert_bytes
    plain = CostModel(machine=TWO, model=model)
    half = SlicedCosts(machine=TWO, model=model, num_cards=2, mode=SplitMode.TENSOR)
    assert (
        half.copy("h2d", size, is_pinned=True).ns == plain.copy("h2d", size / 2, is_pinned=True).ns
    )
    assert (
        half.copy_hidden("h2d", size, is_pinned=True).ns
        == plain.copy("h2d", size, is_pinned=True).ns
    )


def test_a_second_card_pays_where_its_exchanges_cost_less_than_it_reads() -> None:
    """All experts on the CPU, as in the published case of two RTX 5060 Ti: row by row, the second
    card gains over a link without latency, and loses over one of 10 us.
    """
    model = load_model("deepseek-v3", "4bit")
    parts = "RTX 5060 Ti 16GB + Ryzen 9 9950X + 8x64GB DDR5-4800"
    batch = Batch(prompt_tokens=1, output_tokens=2)

    def decode_s(mode: SplitMode | None, latency_ns: int) -> float:
        latency = [f"link.{way}.latency_ns={latency_ns}" for way in ("h2d", "d2h")]
        machine = load_machine(parts, (*latency, f"gpu.count={2 if mode else 1}"))
        scenario = _scenario(
            "kt-uniform",
            mode or SplitMode.EXPERTS,
            machine,
            model=model,
            batch=batch,
            slots_per_layer=0,
        )
        return run_of(scenario).metrics.tpot_s

    assert decode_s(SplitMode.ROW, 0) < decode_s(None, 0)
    assert decode_s(SplitMode.ROW, 10_000) > decode_s(None, 10_000)
    assert decode_s(SplitMode.TENSOR, 10_000) < decode_s(SplitMode.ROW, 10_000)


def test_what_does_not_go_together_is_refused() -> None:
    """Slices on one GPU, with layers laid out, and bounds for them."""
    with pytest.raises(InputError, match="`split_mode` tensor needs `gpus` of at least 2, got 1"):
        shared(TWO, 1, SplitMode.TENSOR)
    setting = Setting(
        model="mixtral-8x7b",
        machine="desktop-rtx-4090-ddr5",
        machine_overrides=("gpu.count=2",),
        prompt_tokens=1,
        output_tokens=1,
        layers_by_card=(16, 16),
        split_mode="row",
    )
    with pytest.raises(InputError, match="`split_mode` row does not go with `layers_by_card`"):
        setting.question()
    scenario = _scenario("lru", SplitMode.TENSOR, machine_of(2))
    with pytest.raises(InputError, match="bounds are proven for one GPU, got 2"):
        mean_bounds(problem_of(scenario), [draw(scenario, scenario.policy.feeding)])
