"""The machine file that measuring writes: complete, accepted, saying what it is; and one real, tiny
measurement.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from hwprofiles import InputError, Kind, Operation, load_machine, parse_machine, write_yaml
from sim.policies import find_policy
from sim.routing import uniform
from sim.step.provenance import provenance_of
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS
from tests.validation.host_stream import WORK_NS, HostStream
from tests.validation.measuring_fakes import LANES, findings, point
from validation.measuring import EFFORTS, EMULATED, Emulation, Subject, machine_data, measure
from validation.measuring.bench import Bench, HostBench, StreamBench, Work
from validation.measuring.cold_memory import ColdMemory
from validation.measuring.grid import Grid
from validation.measuring.interference_probes import Load, Pair, factor_of, measure_interference
from validation.measuring.memory_probes import thread_counts
from validation.measuring.sampling import Budget
from validation.measuring.surroundings import cache_bytes, surroundings
from validation.measuring.timing import MeanTime

TINY_GRID = Grid(
    expert_tokens=(1, 4),
    tokens=(1, 4),
    sequences=(1,),
    attention_sequences=(1, 2),
    contexts=(1, 16),
    prompts=(2, 8),
    copy_bytes=(4096, 2**18),
)
TINY = replace(
    EFFORTS["quick"],
    grid=TINY_GRID,
    cuda_grid=TINY_GRID,
    budget=Budget(total_s=3.0, most_point_s=1.0, most_rounds=3),
    num_gaps=10,
    num_interference_rounds=1,
)


def test_the_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Through YAML and ``load_machine``: the same machine, its numbers measured, with how often and
    how noisily.
    """
    data = machine_data(findings(), "here", "1.2.3")
    write_yaml(data, tmp_path / "here.yaml")
    machine = load_machine(str(tmp_path / "here.yaml"))
    assert machine == parse_machine(data, "data") and machine.name == "here"
    assert machine.cpu.memory_bytes_per_s.kind is Kind.MEASURED
    assert "rosin measure 1.2.3, torch 2.13" in machine.cpu.memory_bytes_per_s.source
    assert "median of 9, spread 5.0%" in machine.cpu.memory_bytes_per_s.source
    expert = next(curve for curve in machine.curves if curve.operation is Operation.EXPERT)
    assert expert.points == ((1, 1000), (2, 2000), (8, 8000)) and expert.spread_fractions == (
        0.05,
        0.05,
        0.05,
    )


def test_what_the_numbers_are_made_of() -> None:
    """Rates by hand: an expert of one token, the most FLOPs, the stated rate, the smallest copy's
    rest; and all twelve factors.
    """
    machine = parse_machine(machine_data(findings(), "here", "1"), "here")
    assert machine.cpu.memory_bytes_per_s.value == pytest.approx(2 * 3 * 64 * 128 / 1e-6, rel=1e-3)
    assert machine.cpu.flops_per_s["bf16"].value == pytest.approx(2 * 3 * 64 * 128 / 1e-6, rel=1e-3)
    assert (
        machine.link.h2d.bytes_per_s.value == 2e9
        and machine.link.h2d.bytes_per_s.kind is Kind.ASSUMED
    )
    assert "was measured to take +0.1% longer" in machine.link.h2d.bytes_per_s.source
    assert not [curve for curve in machine.curves if curve.operation is Operation.COPY], (
        "the rate says what a paced copy costs"
    )
    assert (
        machine.link.h2d.latency_ns.value == 500 and machine.link.h2d.pageable_bytes_per_s is None
    )
    assert machine.host.hand_over_ns is not None and machine.host.hand_over_ns.value == 40_000
    assert {(pair.busy, pair.slows) for pair in machine.interference} == {
        (busy, slows) for busy in LANES for slows in LANES if busy != slows
    }
    assert machine.gpu.memory_bytes.kind is Kind.ASSUMED


def test_an_emulated_accelerator_says_so() -> None:
    """In the description, the GPU's name and the link's, with the rate that was stated."""
    machine = parse_machine(
        machine_data(findings(emulation=Emulation(link_bytes_per_s=3e9)), "here", "1"), "here"
    )
    assert (
        machine.description.startswith(EMULATED)
        and "paced to 3 GB/s. It is no GPU." in machine.description
    )
    assert machine.gpu.name.startswith("emulated accelerator") and machine.link.name.startswith(
        "emulated link"
    )


def test_noise_does_not_make_a_curve_fall() -> None:
    """Two tokens measured 3 % faster than one, with a spread of 5 %: the curve is level."""
    points = tuple(
        point(Operation.GATE, "cpu", x, ns, shape={"hidden": 8, "experts": 2, "top_k": 1})
        for x, ns in ((1, 1000.0), (2, 970.0))
    )
    found = findings()
    data = machine_data(
        replace(found, curves={**found.curves, points[0].probe.key: points}), "here", "1"
    )
    (gate,) = [curve for curve in data["curves"] if curve["operation"] == "gate"]
    assert gate["points"] == [[1, 985], [2, 985]]


def test_threads_and_caches() -> None:
    """Counts of threads double up to all cores; the largest cache counts, 64 MiB where none is
    stated.
    """
    assert (
        thread_counts(1) == [1]
        and thread_counts(6) == [1, 2, 4, 6]
        and thread_counts(8) == [1, 2, 4, 8]
    )
    assert cache_bytes(["48K", "491520K\n", ""]) == 491520 * 1024 and cache_bytes([]) == 64 * 2**20


def test_cold_memory_goes_round() -> None:
    """Blocks follow each other, none overlaps another until all is used, and no number is near 0 or
    infinite.
    """
    cold = ColdMemory(10_000, torch.bfloat16, torch.device("cpu"))
    places = [cold.take(1000).data_ptr() for _ in range(6)]
    steps = np.diff(places)
    assert (steps[:3] == 2048).all() and places[4] == places[0]
    assert torch.isfinite(cold.take(5000)).all()
    shapes = {"a": (3, 4), "b": (5,)}
    assert {
        name: tuple(tensor.shape) for name, tensor in cold.block(shapes).tensors.items()
    } == shapes


def test_interference_is_seen() -> None:
    """Two benches of one core that both compute slow each other to about half; factors are at most
    1.
    """
    core = HostBench("one", ()), HostBench("other", ())
    x = torch.randn(64, 64)
    try:
        loads = {
            name: Load(bench=bench, make=lambda: lambda: x @ x, lasts_ns=20_000)
            for name, bench in zip("ab", core, strict=True)
        }
        factors = measure_interference(loads, 2)
    finally:
        for bench in core:
            bench.close()
    assert {(one.busy, one.slows) for one in factors} == {("a", "b"), ("b", "a")}
    assert all(0 < one.rate_fraction <= 1 and one.num_samples >= 2 for one in factors)


@given(
    pairs=st.lists(
        st.builds(Pair, ratio=st.floats(0.01, 3.0), is_disturbed=st.booleans()), min_size=1
    )
)
def test_a_factor_rests_on_quiet_pairs_where_there_are_enough(pairs: list[Pair]) -> None:
    """It is within what counts, at most 1, and does not hang on disturbed pairs where three are quiet."""
    found = factor_of("a", "b", pairs)
    quiet = [pair for pair in pairs if not pair.is_disturbed]
    counted = quiet if len(quiet) >= 3 or len(quiet) == len(pairs) else pairs
    ratios = [pair.ratio for pair in counted]
    assert found.num_samples == len(counted)
    assert min(1.0, min(ratios)) <= found.rate_fraction <= min(1.0, max(ratios))


class _OftenDisturbed:
    """A bench that another process takes a part of, but for two timings of eight."""

    cores = frozenset[int]()

    def __init__(self) -> None:
        self._num_timings = 0

    def time(self, works: Sequence[Work]) -> MeanTime:
        """Quiet timings take 1 µs, others 3."""
        self._num_timings += 1
        is_disturbed = self._num_timings % 8 not in (1, 2)
        return MeanTime(ns=3000.0 if is_disturbed else 1000.0, is_disturbed=is_disturbed)

    @contextmanager
    def kept_busy(self, makes: Callable[[], Work], lasts_ns: float) -> Iterator[None]:
        """Nothing else runs."""
        yield


def test_rounds_go_on_until_enough_were_quiet() -> None:
    """A pair of lanes of which few timings were quiet has more rounds, up to four times as many."""
    loads = {
        name: Load(bench=cast(Bench, _OftenDisturbed()), make=lambda: lambda: None, lasts_ns=1e6)
        for name in "ab"
    }
    factors = measure_interference(loads, 16)
    assert all(one.rate_fraction == 1.0 and one.num_samples >= 8 for one in factors)


def test_a_stream_is_timed_by_its_marks() -> None:
    """Four works between two marks: a quarter of the time between them each."""
    bench, ran = StreamBench("gpu", torch.device("cpu"), HostStream("gpu")), list[int]()
    try:
        timing = bench.time([lambda: ran.append(1)] * 4)
        assert timing.ns >= WORK_NS / 4 and len(ran) == 4, (
            "more where this thread was held up between the marks"
        )
        assert bench.run(lambda: 5) == 5
        with bench.kept_busy(lambda: lambda: ran.append(2), 1e6):
            assert 2 in ran
    finally:
        bench.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured() -> None:
    """Curves of the GPU, and of copies from pinned and pageable memory both ways; pinned ones are
    no slower.
    """
    found = measure([MODELS["plain"]], Subject(device="cuda"), effort=TINY)
    machine = parse_machine(machine_data(found, "here", "1"), "here")
    copies = {curve.device for curve in machine.curves if curve.operation is Operation.COPY}
    assert copies == {
        "h2d",
        "h2d_pageable",
        "d2h",
        "d2h_pageable",
    } and not machine.description.startswith(EMULATED)
    assert (
        machine.gpu.memory_bytes.kind is Kind.MEASURED
        and machine.link.h2d.pageable_bytes_per_s is not None
    )
    assert machine.link.h2d.pageable_bytes_per_s.value <= 1.1 * machine.link.h2d.bytes_per_s.value


@pytest.mark.slow
def test_a_real_measurement_prices_a_run() -> None:
    """A few seconds of real operations: all curves of the model on both devices; of what a run
    rests on, only stated memory is assumed.
    """
    model = MODELS["dense-first-and-shared"]
    stages: list[str] = []
    found = measure(
        [model],
        Subject(
            device="cpu",
            around=replace(surroundings(), cache_bytes=2**20),
            emulation=Emulation(memory_bytes=1e9),
        ),
        effort=TINY,
        on_stage=lambda stage, share: stages.append(stage),
    )
    machine = parse_machine(machine_data(found, "here", "1"), "here")
    assert list(dict.fromkeys(stages)) == ["memory", "operations", "hand-overs", "interference"]
    operations = {(curve.device, curve.operation) for curve in machine.curves}
    of_models = {"expert", "dense", "gate", "norm", "attention_decode", "attention_prefill"}
    assert operations >= {
        (device, Operation(name)) for device in ("gpu", "cpu") for name in of_models
    }
    assert operations >= {("gpu", Operation.MEMORY_READ), ("cpu", Operation.MEMORY_READ)}
    scenario = Scenario(
        machine=machine,
        model=model,
        batch=Batch(prompt_tokens=4, output_tokens=4),
        policy=find_policy("fiddler"),
        routing=uniform(),
        slots_per_layer=2,
    )
    run = simulate(scenario)
    assert isinstance(run, Run) and run.metrics.end_to_end_s > 0
    stated = {
        *("gpu.memory_bytes", "gpu.context_bytes", "gpu.kernel_ns", "gpu.serial_fraction"),
        *("link.h2d.bytes_per_s", "link.d2h.bytes_per_s", "host.step_overhead_ns"),
    }
    unmeasured = {
        number.path
        for number in provenance_of(run).numbers
        if number.provenance.kind is not Kind.MEASURED
    }
    assert "gpu.memory_bytes" in unmeasured <= stated, (
        "which lanes are busy depends on what was measured"
    )


def test_a_copy_takes_what_the_link_is_said_to_have() -> None:
    """4 MiB at 1 GB/s take 4.2 ms; never less, and on a computer that is not overrun not twice as
    much.
    """
    from validation.backend.paced_link import PacedLink

    link, bench = PacedLink(1e9), HostBench("link", ())
    source, target = torch.ones(2**20), torch.zeros(2**20)
    try:
        taken = min(bench.time([lambda: link.copy(target, source)]).ns for _ in range(5))
    finally:
        bench.close()
    assert torch.equal(source, target) and 4 * 2**20 <= taken < 2 * 4 * 2**20


def test_formats_and_devices_that_are_not_there() -> None:
    """One line each."""
    model = MODELS["plain"]
    with pytest.raises(InputError, match="`dtypes` q4_k: not measured; bf16, f16, f32 are"):
        measure([model], Subject(dtypes=("q4_k",)))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="`device` cuda: torch finds no CUDA device here"):
            measure([model], Subject(device="cuda"))
