"""Prices: rooflines by hand, curves, provenance."""

from dataclasses import replace

import numpy as np
import pytest

from hwprofiles import InputError, Kind, load_machine, parse_machine
from sim.costs.cost_model import MOST_KEPT, CostModel
from sim.costs.roofline import EAGER_KERNELS, FUSED_KERNELS
from sim.model.library import load_model
from sim.model.model import Model, TensorClass
from sim.policies import POLICIES
from sim.routing import load_routing
from sim.step.simulate import Scenario, problem_of
from sim.workload.batch import Batch
from tests.sim.small import HIDDEN, SOURCE, VOCAB, WIDE, quantity, small_machine, small_model

EXPERT_BYTES = 2 * 3 * HIDDEN * WIDE
SHAPE = {"hidden": HIDDEN, "intermediate": WIDE}


def _costs(model: Model | None = None, **machine: object) -> CostModel:
    return CostModel(machine=small_machine(**machine), model=model or small_model())  # type: ignore[arg-type]


def _curve(
    points: list[list[float]], device: str = "cpu", kind: str = "measured", **changes: object
) -> dict[str, object]:
    return (
        SOURCE
        | {"operation": "expert", "device": device, "shape": SHAPE, "points": points, "kind": kind}
        | changes
    )


@pytest.mark.parametrize(
    ("device", "bytes_per_s", "flops_per_s"), [("gpu", 100e9, 1e12), ("cpu", 10e9, 0.1e12)]
)
def test_an_expert_follows_the_roofline(
    device: str, bytes_per_s: float, flops_per_s: float
) -> None:
    """Few tokens cost the bytes, many the FLOPs: 2 per weight and token."""
    costs = _costs()
    tokens = np.array([1, 7, 5000])
    moved = EXPERT_BYTES + tokens * 2 * (HIDDEN + 2 * WIDE) * 2
    expected = np.maximum(moved / bytes_per_s, 2 * 3 * HIDDEN * WIDE * tokens / flops_per_s) * 1e9
    assert costs.expert(device, 0, tokens).ns.tolist() == np.rint(expected).tolist()  # type: ignore[arg-type]
    assert moved[0] / bytes_per_s > 2 * 3 * HIDDEN * WIDE / flops_per_s, (
        "one token must be bound by memory"
    )
    assert moved[2] / bytes_per_s < 2 * 3 * HIDDEN * WIDE * 5000 / flops_per_s, (
        "many tokens must be bound by compute"
    )


def test_launches_hide_behind_gpu_work_and_calls_add_to_cpu_work() -> None:
    """GPU: the longer of work and launches. CPU: the sum of work and one call."""
    plain, slow = _costs(), _costs(overhead_ns=1e6)
    assert slow.expert("gpu", 0, 1).ns == EAGER_KERNELS["expert"] * 1_000_000
    assert slow.expert("cpu", 0, 1).ns == plain.expert("cpu", 0, 1).ns + 1_000_000


def test_a_table_starts_with_nothing_for_no_token() -> None:
    """Entry n is the price of n tokens; entry 0 is 0."""
    costs = _costs()
    table = costs.expert_table("cpu", 0, 6)
    assert (
        table[0] == 0 and table[1:].tolist() == costs.expert("cpu", 0, np.arange(1, 7)).ns.tolist()
    )


def test_dense_parts_by_hand() -> None:
    """Router, dense block, shared experts and vocabulary projection: weights and activations in and
    out, at 100 GB/s.
    """
    model = small_model(num_layers=2, dense_layers=(0,), has_shared=True)
    costs = _costs(model)
    activations = 2 * 1 * HIDDEN * 2
    for layer, which, params in (
        (0, TensorClass.DENSE_FFN, 3 * HIDDEN * 4 * WIDE),
        (1, TensorClass.ROUTER, HIDDEN * 8),
        (1, TensorClass.SHARED_EXPERT, 3 * HIDDEN * WIDE),
    ):
        assert costs.weights("gpu", layer, which, 1).ns == round((2 * params + activations) / 100)
    assert costs.head("gpu", 1).ns == round((2 * VOCAB * HIDDEN + activations) / 100)


def test_attention_of_one_token_by_hand() -> None:
    """Decode at position 99: norm and projections, 100 tokens of KV, the hidden state four times."""
    params, kv = 2 * HIDDEN + 4 * HIDDEN * HIDDEN, 100 * 2 * HIDDEN * 2
    assert _costs().attention("gpu", 0, 1, 1, 99, 100).ns == round(
        (2 * params + kv + 4 * HIDDEN * 2) / 100
    )


def test_attention_flops_count_what_each_token_sees() -> None:
    """Bound by compute, a prefill of 4,000 tokens sees 2,000.5 on average; with a window of 100 the
    sum is taken token by token.
    """
    for window in (None, 100):
        model = small_model(window_tokens=window)
        seen = sum(min(position + 1, window or 4000) for position in range(4000))
        flops = 2 * 4000 * (2 * HIDDEN + 4 * HIDDEN * HIDDEN) + 2 * seen * 2 * HIDDEN
        assert _costs(model, gpu=_slow_gpu()).attention("gpu", 0, 4000, 1, 0, 4000).ns == round(
            flops / 1e9 * 1e9
        )


def test_chunks_of_a_prefill_add_up_to_it() -> None:
    """Where compute binds, attention in two chunks costs what it costs in one."""
    costs = _costs(small_model(window_tokens=64), gpu=_slow_gpu())
    whole = int(costs.attention("gpu", 0, 1000, 1, 0, 1000).ns)
    chunks = costs.attention(
        "gpu", 0, np.array([300, 700]), 1, np.array([0, 300]), np.array([300, 1000])
    ).ns
    assert int(chunks.sum()) == pytest.approx(whole, abs=2)


def test_a_sliding_window_bounds_the_kv_that_is_read() -> None:
    """Beyond the window, a longer context costs no more; without one it does."""
    model = small_model(window_tokens=32)
    contexts = np.array([16, 32, 33, 5000])
    windowed = _costs(model).attention("gpu", 0, 1, 1, contexts - 1, contexts).ns
    full = _costs(model).attention("gpu", 1, 1, 1, contexts - 1, contexts).ns
    assert windowed[0] < windowed[1] == windowed[2] == windowed[3] and (np.diff(full) > 0).all()


def test_latent_attention_reads_little_and_computes_much() -> None:
    """MLA of DeepSeek-V2-Lite: 576 elements of KV a token (512 latent, 64 rotary), not 2 x 16 x 192
    or 128.
    """
    model = load_model("deepseek-v2-lite")
    attention = model.layers[1].attention
    assert attention.kv_elements_per_token == 576
    costs = _costs(
        model,
        gpu=_slow_gpu()
        | {"flops_per_s": {"bf16": quantity(1e15)}, "memory_bytes_per_s": quantity(100e9)},
    )
    one, more = (int(costs.attention("gpu", 1, 1, 1, n - 1, n).ns) for n in (1, 100_001))
    assert more - one == pytest.approx(100_000 * 576 * 2 / 100, rel=1e-6)


def test_copies_by_hand() -> None:
    """Latency and bytes over the rate of the direction; pageable memory has its own rate where
    stated.
    """
    link = {
        "name": "link",
        "h2d": {
            "bytes_per_s": quantity(2e9),
            "pageable_bytes_per_s": quantity(1e9),
            "latency_ns": quantity(10),
        },
        "d2h": {"bytes_per_s": quantity(4e9), "latency_ns": quantity(20)},
    }
    costs = _costs(link=link)
    assert (
        costs.copy("h2d", 1000, is_pinned=True).ns == 510
        and costs.copy("h2d", 1000, is_pinned=False).ns == 1010
    )
    assert (
        costs.copy("d2h", 1000, is_pinned=True).ns
        == costs.copy("d2h", 1000, is_pinned=False).ns
        == 270
    )


def test_a_curve_beats_the_roofline_inside_its_range() -> None:
    """At its points exactly, between them on the straight line of the logarithms."""
    costs = _costs(curves=[_curve([[1, 1e6], [4, 4e6]])])
    price = costs.expert("cpu", 0, np.array([1, 2, 4]))
    assert (
        price.ns.tolist() == [1_000_000, 2_000_000, 4_000_000] and not price.is_extrapolated.any()
    )
    assert (price.ns[:2] > _costs().expert("cpu", 0, np.array([1, 2])).ns).all()


def test_outside_its_range_a_curve_is_scaled_by_the_roofline() -> None:
    """The nearest end times the ratio of rooflines, said to be extrapolated."""
    costs, bare = _costs(curves=[_curve([[2, 3e6], [4, 5e6]])]), _costs()
    price = costs.expert("cpu", 0, np.array([1, 2, 9000]))
    roofs = [float(bare.expert("cpu", 0, n).ns) for n in (1, 2, 4, 9000)]
    assert price.is_extrapolated.tolist() == [True, False, True]
    assert price.ns.tolist() == pytest.approx(
        [3e6 * roofs[0] / roofs[1], 3e6, 5e6 * roofs[3] / roofs[2]], rel=1e-4
    )


@pytest.mark.parametrize(
    "change",
    [{"shape": {"hidden": 65, "intermediate": WIDE}}, {"device": "gpu"}, {"dtype": "q4_k"}],
)
def test_a_curve_of_something_else_is_not_used(change: dict[str, object]) -> None:
    """Another shape, device or format leaves the roofline."""
    costs = _costs(curves=[_curve([[1, 9e9]]) | change])
    assert costs.expert("cpu", 0, 1).ns == _costs().expert("cpu", 0, 1).ns


def test_a_copy_curve_is_for_its_kind_of_memory() -> None:
    """A pageable curve prices pageable copies only."""
    curve = SOURCE | {
        "operation": "copy",
        "device": "h2d_pageable",
        "points": [[100, 7000], [1000, 8000]],
    }
    costs = _costs(curves=[curve])
    assert (
        costs.copy("h2d", 1000, is_pinned=False).ns == 8000
        and costs.copy("h2d", 1000, is_pinned=True).ns == 1000
    )


def test_a_price_claims_its_weakest_number() -> None:
    """A measured curve is measured inside its range; outside it, only as good as the rates that
    scale it.
    """
    costs = _costs(curves=[_curve([[1, 1e6], [4, 4e6]])])
    assert costs.expert("cpu", 0, 2).provenance.kind is Kind.MEASURED
    assert costs.expert("cpu", 0, 8).provenance.kind is Kind.ASSUMED
    machine = small_machine().model_dump(mode="json")
    machine["gpu"]["memory_bytes_per_s"]["kind"] = machine["gpu"]["flops_per_s"]["bf16"]["kind"] = (
        "measured"
    )
    for name in ("launch_overhead_ns", "kernel_ns", "serial_fraction", "packed_rate_fraction"):
        machine["gpu"][name]["kind"] = "datasheet"
    assert (
        CostModel(machine=parse_machine(machine, "m"), model=small_model())
        .expert("gpu", 0, 1)
        .provenance.kind
        is Kind.DATASHEET
    )


def test_a_format_runs_at_its_own_rate_where_there_is_one() -> None:
    """fp8 weights at the fp8 rate, q4_k at the bf16 rate; a device that states neither is named."""
    rates = {"bf16": quantity(1e12), "fp8": quantity(2e12)}
    many = 100_000
    for quantization, flops_per_s in (("fp8", 2e12), ("4bit", 1e12)):
        model = load_model("mixtral-8x7b", quantization)
        price = _costs(
            model, gpu=_slow_gpu() | {"flops_per_s": rates, "memory_bytes_per_s": quantity(1e15)}
        ).expert("gpu", 0, many)
        assert int(price.ns) == pytest.approx(2 * 3 * 4096 * 14336 * many / flops_per_s * 1e9)
    with pytest.raises(
        InputError, match="flops_per_s must state bf16, which bf16 weights run at; it has int8"
    ):
        _costs(gpu=_slow_gpu() | {"flops_per_s": {"int8": quantity(1e12)}}).expert("gpu", 0, 1)


def test_very_long_durations_do_not_overflow() -> None:
    """An hour-long expert and a terabyte over a slow link stay exact in 64 bits."""
    costs = _costs(link_bytes_per_s=1e6)
    assert costs.copy("h2d", 1e12, is_pinned=True).ns == 10**15
    assert costs.expert("cpu", 0, 10**12).ns == pytest.approx(
        2 * 3 * HIDDEN * WIDE * 1e12 / 0.1e12 * 1e9
    )


def _slow_gpu() -> dict[str, object]:
    """A GPU that only computes: 1 GFLOP/s, and memory that is never in the way."""
    return {
        "name": "gpu",
        "memory_bytes": quantity(1e9),
        "memory_bytes_per_s": quantity(1e15),
        "flops_per_s": {"bf16": quantity(1e9)},
        "launch_overhead_ns": quantity(0),
        "kernel_ns": quantity(0),
        "serial_fraction": quantity(0),
    }


def test_what_is_asked_for_once_is_kept() -> None:
    """A second asking by the same key is not priced anew; that many other keys later, it is: ever
    new passes fill no memory.
    """
    costs, asked = _costs(), []

    def priced(key: int) -> int:
        asked.append(key)
        return key

    assert [costs.once((key,), lambda key=key: priced(key)) for key in (1, 2, 1)] == [1, 2, 1]  # type: ignore[misc]
    assert asked == [1, 2]
    for key in range(MOST_KEPT):
        costs.once(("another", key), lambda: 0)
    assert costs.once((1,), lambda: priced(3)) == 3


def test_problems_share_costs_of_their_own_machine_alone() -> None:
    """Prices of a common model of costs serve a problem; one of another machine has its own."""
    model = load_model("mixtral-8x7b")
    scenario = Scenario(
        machine=load_machine("desktop-rtx-4090-ddr5"),
        model=model,
        batch=Batch(prompt_tokens=4, output_tokens=2),
        policy=POLICIES["on-demand"],
        routing=load_routing(None, model),
    )
    common = CostModel(machine=scenario.machine, model=model)
    problem = problem_of(scenario, common)
    assert problem.costs is common
    other = replace(problem, machine=load_machine("fiddler-e1"))
    assert other.costs.machine is other.machine
    assert (other.costs.expert_table("cpu", 0, 3) != common.expert_table("cpu", 0, 3)).any()


def _kernel_gpu(**changes: object) -> dict[str, object]:
    """100 GB/s and 1 TFLOP/s, kernels of 1,000 ns, launches of 2,000, a quarter of the shorter of
    reading and arithmetic in sight.
    """
    return {
        "name": "gpu",
        "memory_bytes": quantity(1e9),
        "memory_bytes_per_s": quantity(100e9),
        "flops_per_s": {"bf16": quantity(1e12)},
        "launch_overhead_ns": quantity(2000),
        "kernel_ns": quantity(1000),
        "serial_fraction": quantity(0.25),
    } | changes


def test_every_kernel_adds_its_own_time() -> None:
    """Captured, an operation takes its work and its kernels; launched, no less than its launches."""
    eager, fused = (
        _costs(gpu=_kernel_gpu()),
        _costs(gpu=_kernel_gpu()).run_as(is_fused=True, captures_graphs=False),
    )
    captured = fused.run_as(is_fused=True, captures_graphs=True)
    bare = _costs(gpu=_kernel_gpu(kernel_ns=quantity(0), launch_overhead_ns=quantity(0)))
    for tokens in (1, 500):
        work = int(bare.expert("gpu", 0, tokens).ns)
        for costs, kernels in ((eager, EAGER_KERNELS["expert"]), (fused, FUSED_KERNELS["expert"])):
            assert costs.expert("gpu", 0, tokens).ns == max(work + kernels * 1000, kernels * 2000)
        assert captured.expert("gpu", 0, tokens).ns == work + FUSED_KERNELS["expert"] * 1000
        assert captured.in_groups().expert("gpu", 0, tokens).ns == work
    assert (
        captured.group_overhead_ns("gpu") == FUSED_KERNELS["expert"] * 1000
        and captured.group_least_ns() == 0
    )
    assert fused.group_least_ns() == FUSED_KERNELS["expert"] * 2000


def test_the_shorter_of_reading_and_arithmetic_shows_in_part() -> None:
    """A quarter of it on this GPU; none of it on the CPU."""
    tokens = np.array([1, 400, 5000])
    reading = (EXPERT_BYTES + tokens * 2 * (HIDDEN + 2 * WIDE) * 2) / 100e9
    computing = 2 * 3 * HIDDEN * WIDE * tokens / 1e12
    work = np.maximum(reading, computing) + 0.25 * np.minimum(reading, computing)
    costs = _costs(gpu=_kernel_gpu(kernel_ns=quantity(0), launch_overhead_ns=quantity(0)))
    assert costs.expert("gpu", 0, tokens).ns.tolist() == np.rint(work * 1e9).tolist()


@pytest.mark.parametrize(
    ("quantization", "share"), [("4bit", 0.5), ("8bit", 1.0), ("fp8", 1.0), ("16bit", 1.0)]
)
def test_packed_weights_are_read_slower(quantization: str, share: float) -> None:
    """Weights of fewer than 8 bits at the stated share of the memory rate on the GPU; all formats
    at the full rate on the CPU.
    """
    model = load_model("mixtral-8x7b", quantization)
    fast = {"flops_per_s": {"bf16": quantity(1e18)}, "packed_rate_fraction": quantity(0.5)}
    quiet = {"kernel_ns": quantity(0), "launch_overhead_ns": quantity(0)}
    costs = _costs(model, gpu=_kernel_gpu(**fast, **quiet))
    activations = 2 * (model.hidden + 2 * model.expert_intermediate) * 2
    read = model.expert_bytes / share + activations
    assert int(costs.expert("gpu", 0, 1).ns) == pytest.approx(read / 100e9 * 1e9, rel=1e-6)
    assert int(costs.expert("cpu", 0, 1).ns) >= (model.expert_bytes + activations) / 10e9 * 1e9 - 1


def test_a_share_above_one_is_refused() -> None:
    """A machine file that says more than all of it shows, or that unpacking makes reading faster."""
    for name in ("serial_fraction", "packed_rate_fraction"):
        with pytest.raises(InputError, match=f"{name}.*at most 1, got 1.5"):
            _costs(gpu=_kernel_gpu(**{name: quantity(1.5)}))


@pytest.mark.parametrize("machine", ["fiddler-e1", "fiddler-e2", "fiddler-l4"])
def test_a_cpu_expert_reads_its_weights_once(machine: str) -> None:
    """A few tokens cost what one costs, since DRAM binds; many cost in proportion, since arithmetic
    does.
    """
    table = CostModel(machine=load_machine(machine), model=load_model("mixtral-8x7b")).expert_table(
        "cpu", 0, 512
    )
    assert table[4] < 1.05 * table[1]
    assert table[512] == pytest.approx(4 * table[128], rel=0.02)
    assert (np.diff(table) >= 0).all()


def test_a_cpu_expert_of_fiddler_e1_against_its_figure() -> None:
    """Version 1's long outputs leave 5.0 to 5.6 ms for an expert of one token: no constant of the
    machine file comes from them.
    """
    price = CostModel(machine=load_machine("fiddler-e1"), model=load_model("mixtral-8x7b")).expert(
        "cpu", 0, 1
    )
    assert 5.0e6 * 0.8 <= int(price.ns) <= 5.6e6 * 1.2


def test_a_format_that_the_gpu_multiplies_is_not_unpacked() -> None:
    """nvfp4 is read at the whole rate by a card that states a rate for it, and by no other."""
    model = load_model("mixtral-8x7b", "NVFP4")
    quiet = {"kernel_ns": quantity(0), "launch_overhead_ns": quantity(0)}
    share = {"packed_rate_fraction": quantity(0.5)}
    plain = _kernel_gpu(flops_per_s={"bf16": quantity(1e18)}, **share, **quiet)
    native = _kernel_gpu(
        flops_per_s={"bf16": quantity(1e18), "nvfp4": quantity(1e18)}, **share, **quiet
    )
    activations = 2 * (model.hidden + 2 * model.expert_intermediate) * 2
    times = [int(_costs(model, gpu=gpu).expert("gpu", 0, 1).ns) for gpu in (plain, native)]
    read = [model.expert_bytes / 0.5 + activations, model.expert_bytes + activations]
    assert times == [pytest.approx(num_bytes / 100e9 * 1e9, rel=1e-6) for num_bytes in read]
