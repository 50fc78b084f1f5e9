"""Prices: rooflines by hand, curves, provenance."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


COUNTS = st.integers(1, 10**6)
DEVICES = st.sampled_from(["gpu", "cpu"])
BYTES_PER_S = {"gpu": 100e9, "cpu": 10e9}
FLOPS_PER_S = {"gpu": 1e12, "cpu": 0.1e12}
EXPERT_FLOPS = 2 * 3 * HIDDEN * WIDE
PLAIN = _costs()


def _expert_bytes(tokens: int) -> int:
    """Weights, and activations in and out."""
    return EXPERT_BYTES + tokens * 2 * (HIDDEN + 2 * WIDE) * 2


@given(device=DEVICES, tokens=COUNTS | st.just(10**12))
def test_an_expert_follows_the_roofline(device: Literal["gpu", "cpu"], tokens: int) -> None:
    """The longer of its bytes and its FLOPs, 2 per weight and token; an hour stays exact."""
    reading_s = _expert_bytes(tokens) / BYTES_PER_S[device]
    computing_s = EXPERT_FLOPS * tokens / FLOPS_PER_S[device]
    found = PLAIN.expert(device, 0, tokens).ns
    assert found == pytest.approx(max(reading_s, computing_s) * 1e9, abs=0.51, rel=1e-12)


@given(device=DEVICES, tokens=COUNTS, more=COUNTS)
def test_more_tokens_are_never_cheaper(
    device: Literal["gpu", "cpu"], tokens: int, more: int
) -> None:
    """Nor dearer than the same tokens in two runs, which read the weights twice."""
    few, many, all_ = (
        int(PLAIN.expert(device, 0, count).ns) for count in (tokens, more, tokens + more)
    )
    assert max(few, many) <= all_ <= few + many + 1


@given(tokens=COUNTS, overhead_ns=st.integers(0, 10**7))
def test_launches_hide_behind_gpu_work_and_calls_add_to_cpu_work(
    tokens: int, overhead_ns: int
) -> None:
    """GPU: the longer of work and launches. CPU: the sum of work and one call."""
    slow = _costs(overhead_ns=overhead_ns)
    launches_ns = EAGER_KERNELS["expert"] * overhead_ns
    assert slow.expert("gpu", 0, tokens).ns == max(PLAIN.expert("gpu", 0, tokens).ns, launches_ns)
    assert slow.expert("cpu", 0, tokens).ns == PLAIN.expert("cpu", 0, tokens).ns + overhead_ns


@given(device=DEVICES, most=st.integers(1, 200))
def test_a_table_starts_with_nothing_for_no_token(device: Literal["gpu", "cpu"], most: int) -> None:
    """Entry n is the price of n tokens; entry 0 is 0."""
    table = PLAIN.expert_table(device, 0, most)
    assert table[0] == 0
    assert table[1:].tolist() == PLAIN.expert(device, 0, np.arange(1, most + 1)).ns.tolist()


MIXED = _costs(small_model(num_layers=2, dense_layers=(0,), has_shared=True))


@given(tokens=COUNTS)
def test_dense_parts_follow_the_roofline(tokens: int) -> None:
    """Router, dense block, shared experts and vocabulary projection: weights and activations in and
    out, at 100 GB/s, or their FLOPs, at 1 TFLOP/s.
    """
    for price, params in (
        (MIXED.weights("gpu", 0, TensorClass.DENSE_FFN, tokens), 3 * HIDDEN * 4 * WIDE),
        (MIXED.weights("gpu", 1, TensorClass.ROUTER, tokens), HIDDEN * 8),
        (MIXED.weights("gpu", 1, TensorClass.SHARED_EXPERT, tokens), 3 * HIDDEN * WIDE),
        (MIXED.head("gpu", tokens), VOCAB * HIDDEN),
    ):
        reading_ns = (2 * params + tokens * 2 * HIDDEN * 2) / 100
        computing_ns = 2 * params * tokens / 1000
        assert price.ns == pytest.approx(max(reading_ns, computing_ns), abs=0.51)


@given(context=st.integers(1, 10**5), window=st.none() | st.integers(1, 10**5))
@settings(max_examples=50)
def test_attention_of_one_token_by_hand(context: int, window: int | None) -> None:
    """Norm and projections, the KV of the tokens that it sees, the hidden state four times: beyond a
    window, a longer context costs no more.
    """
    params = 2 * HIDDEN + 4 * HIDDEN * HIDDEN
    kv = min(context, window or context) * 2 * HIDDEN * 2
    costs = _costs(small_model(window_tokens=window))
    found = costs.attention("gpu", 0, 1, 1, context - 1, context).ns
    assert found == pytest.approx((2 * params + kv + 4 * HIDDEN * 2) / 100, abs=0.51)


@given(tokens=st.integers(1, 3000), window=st.none() | st.integers(1, 3000))
@settings(max_examples=50)
def test_attention_flops_count_what_each_token_sees(tokens: int, window: int | None) -> None:
    """Bound by compute, the sum is taken token by token."""
    costs = _costs(small_model(window_tokens=window), gpu=_slow_gpu())
    seen = sum(min(position + 1, window or tokens) for position in range(tokens))
    flops = 2 * tokens * (2 * HIDDEN + 4 * HIDDEN * HIDDEN) + 2 * seen * 2 * HIDDEN
    assert costs.attention("gpu", 0, tokens, 1, 0, tokens).ns == pytest.approx(flops, abs=0.51)


@given(
    first=st.integers(1, 2000), second=st.integers(1, 2000), window=st.none() | st.integers(1, 999)
)
@settings(max_examples=50)
def test_chunks_of_a_prefill_add_up_to_it(first: int, second: int, window: int | None) -> None:
    """Where compute binds, attention in two chunks costs what it costs in one."""
    costs = _costs(small_model(window_tokens=window), gpu=_slow_gpu())
    tokens = first + second
    whole = int(costs.attention("gpu", 0, tokens, 1, 0, tokens).ns)
    chunks = costs.attention(
        "gpu", 0, np.array([first, second]), 1, np.array([0, first]), np.array([first, tokens])
    ).ns
    assert int(chunks.sum()) == pytest.approx(whole, abs=2)


LINK = {
    "name": "link",
    "h2d": {
        "bytes_per_s": quantity(2e9),
        "pageable_bytes_per_s": quantity(1e9),
        "latency_ns": quantity(10),
    },
    "d2h": {"bytes_per_s": quantity(4e9), "latency_ns": quantity(20)},
}
LINKED = _costs(link=LINK)


@given(num_bytes=st.integers(1, 10**12))
def test_copies_take_their_latency_and_bytes(num_bytes: int) -> None:
    """At the rate of the direction; pageable memory has its own rate where stated."""
    for direction, is_pinned, bytes_per_ns, latency_ns in (
        ("h2d", True, 2, 10),
        ("h2d", False, 1, 10),
        ("d2h", True, 4, 20),
        ("d2h", False, 4, 20),
    ):
        found = LINKED.copy(direction, num_bytes, is_pinned=is_pinned).ns  # type: ignore[arg-type]
        assert found == pytest.approx(num_bytes / bytes_per_ns + latency_ns, abs=0.51, rel=1e-12)


POINTS = st.lists(st.integers(1, 5000), min_size=2, max_size=6, unique=True).flatmap(
    lambda sizes: st.lists(st.integers(10**6, 10**9), min_size=len(sizes), max_size=len(sizes)).map(
        lambda times: list(zip(sorted(sizes), map(float, sorted(times)), strict=True))
    )
)


@given(points=POINTS, tokens=st.integers(1, 10**4))
@settings(max_examples=50)
def test_a_curve_beats_the_roofline_inside_its_range(
    points: list[tuple[int, float]], tokens: int
) -> None:
    """At its points exactly, between them on the straight line of the logarithms; outside, the
    nearest end times the ratio of rooflines, said to be extrapolated.
    """
    costs = _costs(curves=[_curve([list(point) for point in points])])
    sizes, times = (list(column) for column in zip(*points, strict=True))
    assert costs.expert("cpu", 0, np.array(sizes)).ns.tolist() == times
    price = costs.expert("cpu", 0, tokens)
    inside = min(max(tokens, sizes[0]), sizes[-1])
    expected = np.exp(np.interp(np.log(inside), np.log(sizes), np.log(times)))
    roofs = [float(PLAIN.expert("cpu", 0, count).ns) for count in (tokens, inside)]
    assert price.ns == pytest.approx(expected * roofs[0] / roofs[1], rel=1e-4)
    assert bool(price.is_extrapolated) is (tokens != inside)


@given(
    tokens=st.integers(1, 10**5),
    kernel_ns=st.integers(0, 10**5),
    launch_ns=st.integers(0, 10**5),
    share=st.floats(0, 1),
)
@settings(max_examples=40)
def test_every_kernel_adds_its_own_time(
    tokens: int, kernel_ns: int, launch_ns: int, share: float
) -> None:
    """Captured, an operation takes its work and its kernels; launched, no less than its launches. Of
    the shorter of reading and arithmetic the stated share shows.
    """
    stated = {"kernel_ns": kernel_ns, "launch_overhead_ns": launch_ns, "serial_fraction": share}
    eager = _costs(gpu=_kernel_gpu(**{name: quantity(value) for name, value in stated.items()}))
    fused = eager.run_as(is_fused=True, captures_graphs=False)
    captured = fused.run_as(is_fused=True, captures_graphs=True)
    lanes = _expert_bytes(tokens) / 100, EXPERT_FLOPS * tokens / 1000
    work_ns = max(lanes) + share * min(lanes)
    for costs, kernels in ((eager, EAGER_KERNELS["expert"]), (fused, FUSED_KERNELS["expert"])):
        launched_ns = max(work_ns + kernels * kernel_ns, kernels * launch_ns)
        assert costs.expert("gpu", 0, tokens).ns == pytest.approx(launched_ns, abs=0.51)
    kernels_ns = FUSED_KERNELS["expert"] * kernel_ns
    assert captured.expert("gpu", 0, tokens).ns == pytest.approx(work_ns + kernels_ns, abs=0.51)
    assert captured.in_groups().expert("gpu", 0, tokens).ns == pytest.approx(work_ns, abs=0.51)
    assert (captured.group_overhead_ns("gpu"), captured.group_least_ns()) == (kernels_ns, 0)
    assert fused.group_least_ns() == FUSED_KERNELS["expert"] * launch_ns


@given(name=st.sampled_from(["serial_fraction", "packed_rate_fraction"]), share=st.floats(0, 3))
@settings(max_examples=30)
def test_a_share_above_one_is_refused(name: str, share: float) -> None:
    """A machine file that says more than all of it shows, or that unpacking makes reading faster."""
    if share <= 1:
        return
    with pytest.raises(InputError, match=f"{name}.*at most 1, got"):
        _costs(gpu=_kernel_gpu(**{name: quantity(share)}))


@given(factor=st.floats(1, 1000), tokens=COUNTS, num_bytes=st.integers(1, 10**12))
@settings(max_examples=40)
def test_prices_scale_with_rates(factor: float, tokens: int, num_bytes: int) -> None:
    """A machine whose every rate is k times as high takes 1/k of the time, where nothing has a time
    of its own.
    """
    gpu = _slow_gpu() | {
        "memory_bytes_per_s": quantity(1e9 * factor),
        "flops_per_s": {"bf16": quantity(1e9 * factor)},
    }
    slow, fast = _slow_gpu() | {"memory_bytes_per_s": quantity(1e9)}, gpu
    one, other = (_costs(gpu=each) for each in (slow, fast))
    for price in (
        lambda costs: costs.expert("gpu", 0, tokens).ns,
        lambda costs: costs.head("gpu", tokens).ns,
        lambda costs: costs.attention("gpu", 0, 1, 1, tokens - 1, tokens).ns,
    ):
        assert price(other) == pytest.approx(int(price(one)) / factor, abs=1.01)
