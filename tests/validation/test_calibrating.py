"""Calibration: a fit finds what was done to prices, is judged on what it was not fitted to, and
goes into the machine file.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from hwprofiles import InputError, Kind, Machine, Operation, parse_machine
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting
from sim.costs.cost_model import CostModel
from sim.engine import engine
from sim.engine.program import Platform, Program
from sim.engine.task import Task, TaskKind, task_table
from sim.model.model import TensorClass
from sim.policies import POLICIES
from sim.step.lowering.lower import RESOURCES
from tests.sim.small import MODELS, SOURCE, small_machine
from tests.tiny_config import write_tiny_config
from tests.validation.measuring_fakes import findings
from validation.backend import Tier
from validation.calibrating import (
    CostPart,
    Fit,
    ObservedRun,
    Scales,
    calibrate,
    fit,
    hold_out,
    observed_run,
)
from validation.calibrating.fitted_machine import Marking, fitted_machine
from validation.comparison.tiers import real_tier
from validation.measuring import machine_data

LANES = [resource.name for resource in RESOURCES]
FACTORS = {
    ("gpu", TaskKind.EXPERT): 1.5,
    ("cpu", TaskKind.EXPERT): 0.8,
    ("gpu", TaskKind.GATE): 3.0,
    ("h2d", TaskKind.FETCH): 1.2,
}
DELAY_NS, OVERHEAD_NS = 30_000, 70_000
MARKING = Marking(source="a fit", date="2026-11-22")


def _run(plan: str, seed: int, noise_fraction: float = 0.0) -> ObservedRun:
    """A run of six layers whose operations last FACTORS times their price, copies of activations
    DELAY_NS more, layers OVERHEAD_NS more.
    """
    generator = np.random.default_rng(seed)
    tasks: list[Task] = []
    for layer in range(6):
        gate = _task(tasks, "gpu", TaskKind.GATE, generator, (len(tasks) - 1,) if tasks else ())
        copy = _task(tasks, "d2h", TaskKind.ACTIVATION_COPY, generator, (gate,))
        on_cpu = _task(tasks, "cpu", TaskKind.EXPERT, generator, (copy,))
        fetch = _task(tasks, "h2d", TaskKind.FETCH, generator, (gate,))
        _task(tasks, "gpu", TaskKind.EXPERT, generator, (fetch, on_cpu))
        assert layer < 6
    table = task_table(tasks)
    lasted_ns = _lasted_ns(table.duration_ns, [(LANES[task.resource], task.kind) for task in tasks])
    lasted_ns = lasted_ns * generator.normal(1, noise_fraction, len(tasks))
    platform = Platform(resources=RESOURCES)
    line = engine("fast").run_program(
        Program(
            platform=platform, tasks=replace(table, duration_ns=np.rint(lasted_ns).astype(np.int64))
        )
    )
    seen = observed_run(plan, replace(line, tasks=table), num_layer_passes=6)
    return replace(seen, makespan_ns=line.makespan_ns + 6 * OVERHEAD_NS)


def _task(
    tasks: list[Task],
    lane: str,
    kind: TaskKind,
    generator: np.random.Generator,
    after: tuple[int, ...],
) -> int:
    low, high = (5_000, 9_000) if kind is TaskKind.ACTIVATION_COPY else (100_000, 900_000)
    duration_ns = int(generator.integers(low, high))
    tasks.append(
        Task(
            resource=LANES.index(lane),
            duration_ns=duration_ns,
            after=after,
            kind=kind,
            step=len(tasks) % 3,
            layer=0,
        )
    )
    return len(tasks) - 1


def _lasted_ns(
    price_ns: NDArray[np.int64], kinds: list[tuple[str, TaskKind]]
) -> NDArray[np.float64]:
    factors = np.array([FACTORS.get(kind, 1.0) for kind in kinds])
    delays_ns = np.array([DELAY_NS if kind is TaskKind.ACTIVATION_COPY else 0 for _, kind in kinds])
    return price_ns * factors + delays_ns


def test_a_fit_finds_what_was_done() -> None:
    """Without noise, factors, delay and overhead come back."""
    found = fit([_run("a", 1), _run("b", 2)])
    for (lane, kind), factor in FACTORS.items():
        part = {
            TaskKind.EXPERT: CostPart.EXPERT,
            TaskKind.GATE: CostPart.GATE,
            TaskKind.FETCH: CostPart.COPY,
        }[kind]
        assert found.scales.factors[lane, part] == pytest.approx(factor, rel=1e-4), (lane, kind)
    assert found.scales.copy_delays_ns["d2h"] == pytest.approx(DELAY_NS, rel=1e-3)
    assert found.layer_overhead_ns == pytest.approx(OVERHEAD_NS, rel=1e-3)


def test_a_fit_survives_noise() -> None:
    """Eight runs of 5 % noise: factors within 3 %."""
    found = fit([_run("a", seed, 0.05) for seed in range(8)])
    assert found.scales.factors["gpu", CostPart.EXPERT] == pytest.approx(1.5, rel=0.03)
    assert found.scales.factors["cpu", CostPart.EXPERT] == pytest.approx(0.8, rel=0.03)


def test_what_is_compared_was_not_fitted() -> None:
    """Each plan is predicted by a fit to the others: what only one plan has stays wrong there."""
    runs = [_run(plan, seed) for plan in ("a", "b", "c") for seed in (1, 2)]
    held = hold_out(runs, 0.0)
    assert [one.plan for one in held] == ["a", "b", "c"] and {one.fitted_to for one in held} == {
        "the other plans"
    }
    assert all(abs(one.after_fraction) < 1e-3 < abs(one.before_fraction) for one in held)
    odd = [
        replace(run, makespan_ns=2 * run.makespan_ns) if run.plan == "c" else run for run in runs
    ]
    assert hold_out(odd, 0.0)[2].after_fraction == pytest.approx(-0.5, abs=1e-3)


def test_a_single_plan_is_held_out_by_runs() -> None:
    """Its later half is predicted by its earlier; one run alone is compared with nothing."""
    (held,) = hold_out([_run("a", seed) for seed in range(4)], 0.0)
    assert held.fitted_to == "its earlier runs" and abs(held.after_fraction) < 1e-3
    assert hold_out([_run("a", 1)], 0.0) == []


def _fitted(
    machine: Machine,
    factors: dict[tuple[str, CostPart], float],
    delays_ns: dict[str, float] | None = None,
) -> Machine:
    found = Fit(
        scales=Scales(factors=factors, copy_delays_ns=delays_ns or {}),
        num_tasks=dict.fromkeys(factors, 9),
        layer_overhead_ns=1234.0,
    )
    data = fitted_machine(
        machine, [(MODELS["dense-first-and-shared"], 1)], found, "calibrated", MARKING
    )
    return parse_machine(data, "calibrated")


def test_prices_are_those_of_the_fit() -> None:
    """Prices by rates become curves, times the factor; what was not run keeps its price; the
    overhead is the fit's.
    """
    model, bare = MODELS["dense-first-and-shared"], small_machine()
    factors = {
        ("gpu", CostPart.EXPERT): 2.0,
        ("cpu", CostPart.GATE): 3.0,
        ("gpu", CostPart.ATTENTION_DECODE): 1.5,
        ("gpu", CostPart.FEED_FORWARD): 4.0,
    }
    before, after = (
        CostModel(machine=bare, model=model),
        CostModel(machine=_fitted(bare, factors), model=model),
    )
    tokens = np.array([1, 2, 64])
    np.testing.assert_allclose(
        after.expert("gpu", 1, tokens).ns, 2 * before.expert("gpu", 1, tokens).ns, rtol=1e-3
    )
    np.testing.assert_array_equal(
        after.expert("cpu", 1, tokens).ns, before.expert("cpu", 1, tokens).ns
    )
    np.testing.assert_allclose(
        after.weights("cpu", 1, TensorClass.ROUTER, tokens).ns,
        3 * before.weights("cpu", 1, TensorClass.ROUTER, tokens).ns,
        rtol=0.02,
    )
    for which, layer in ((TensorClass.SHARED_EXPERT, 1), (TensorClass.DENSE_FFN, 0)):
        np.testing.assert_allclose(
            after.weights("gpu", layer, which, tokens).ns,
            4 * before.weights("gpu", layer, which, tokens).ns,
            rtol=1e-3,
        )
    work = 1, 1, 63, 64
    assert after.attention("gpu", 0, *work).ns == pytest.approx(
        1.5 * before.attention("gpu", 0, *work).ns, rel=1e-2
    )
    assert after.attention("gpu", 0, 8, 1, 0, 8).ns == before.attention("gpu", 0, 8, 1, 0, 8).ns
    assert (
        after.expert("gpu", 1, 2).provenance.kind is Kind.FITTED
        and after.layer_overhead_ns() == 1234
    )


def test_a_measured_curve_is_multiplied_and_says_from_what() -> None:
    """Its points, not those of a grid; its source has the factor and the source it had."""
    curve = SOURCE | {
        "operation": "expert",
        "device": "cpu",
        "shape": {"hidden": 64, "intermediate": 128},
        "points": [[1, 100], [5, 300]],
    }
    other = curve | {"shape": {"hidden": 1, "intermediate": 1}}
    machine = _fitted(small_machine(curves=[curve, other]), {("cpu", CostPart.EXPERT): 2.0})
    fitted, left = machine.curves
    assert fitted.points == ((1, 200), (5, 600)) and fitted.kind is Kind.FITTED
    assert fitted.source == "a fit; times 2 (assumed: made up for tests)"
    assert left.points == ((1, 100), (5, 300)) and left.kind is Kind.ASSUMED


def test_copies_get_a_factor_and_a_delay() -> None:
    """Rates are divided, the latency grows; a curve's points are multiplied and moved; the other
    direction stays.
    """
    curve = SOURCE | {
        "operation": "copy",
        "device": "h2d",
        "points": [[1000, 2000], [10_000, 11_000]],
    }
    machine = _fitted(
        small_machine(curves=[curve]), {("h2d", CostPart.COPY): 1.25}, {"h2d": 500.0, "d2h": 700.0}
    )
    assert (
        machine.link.h2d.bytes_per_s.value == pytest.approx(1e9 / 1.25)
        and machine.link.h2d.latency_ns.value == 500
    )
    assert machine.link.d2h.bytes_per_s.value == 1e9 and machine.link.d2h.latency_ns.value == 700
    assert (
        machine.curves[0].points == ((1000, 3000), (10_000, 14_250))
        and machine.curves[0].operation is Operation.COPY
    )


def test_every_batch_that_was_run_has_its_attention() -> None:
    """Plans of one and of four sequences: attention has a curve for each, experts one for both."""
    model = MODELS["dense-first-and-shared"]
    factors = {("gpu", CostPart.ATTENTION_DECODE): 1.5, ("gpu", CostPart.EXPERT): 2.0}
    found = Fit(
        scales=Scales(factors=factors, copy_delays_ns={}),
        num_tasks=dict.fromkeys(factors, 9),
        layer_overhead_ns=1.0,
    )

    def of_loads(*sequences: int) -> Machine:
        """The machine fitted to runs of so many sequences."""
        loads = [(model, number) for number in sequences]
        data = fitted_machine(small_machine(), loads, found, "calibrated", MARKING)
        return parse_machine(data, "calibrated")

    both = of_loads(1, 4)
    assert {curve.shape["sequences"] for curve in both.curves if "sequences" in curve.shape} == {
        1,
        4,
    }
    assert sum(curve.operation is Operation.EXPERT for curve in both.curves) == 1
    # Whichever plan came first, the other batch is priced as if it had been fitted alone.
    work = 4, 4, 63, 64
    price = CostModel(machine=both, model=model).attention("gpu", 1, *work).ns
    assert price == CostModel(machine=of_loads(4), model=model).attention("gpu", 1, *work).ns


def test_only_an_emulated_accelerator_is_calibrated_on_a_core() -> None:
    """A core's times say nothing of a GPU, and the other way round."""
    emulated = parse_machine(machine_data(findings(), "here", "1"), "here")
    assert real_tier("auto", emulated) is Tier.CPU is real_tier("cpu", emulated)
    with pytest.raises(InputError, match="`device` cpu: small is not an emulated accelerator"):
        real_tier("cpu", small_machine())
    with pytest.raises(InputError, match="`device` cuda: here is an emulated accelerator"):
        real_tier("cuda", emulated)


@pytest.mark.slow
def test_a_real_calibration(tmp_path: Path) -> None:
    """A tiny model run for real: everything that ran has a factor, and the file prices it."""
    write_tiny_config(tmp_path / "config.json")
    setting = Setting(
        model=str(tmp_path / "config.json"),
        machine="h100",
        prompt_tokens=6,
        output_tokens=3,
        expert_slots_per_layer=2,
    )
    plans = [(name, _plan(setting, name)) for name in ("on-demand", "fiddler")]
    machine, ran = parse_machine(machine_data(findings(), "there", "1"), "here"), list[str]()
    found = calibrate(plans, machine, version="1", num_rounds=2, on_run=ran.append)
    assert ran == ["on-demand", "fiddler"] * 2 and found.num_runs == 4 and len(found.held_out) == 2
    parts = {
        CostPart.EXPERT,
        CostPart.GATE,
        CostPart.HEAD,
        CostPart.ATTENTION_PREFILL,
        CostPart.ATTENTION_DECODE,
    }
    assert set(found.fit.scales.factors) >= {("gpu", part) for part in parts}
    assert all(factor > 0 for factor in found.fit.scales.factors.values())
    assert parse_machine(found.data, "there").host.layer_overhead_ns.kind is Kind.FITTED


def test_a_quantised_model_is_not_run(tmp_path: Path) -> None:
    """No operation of torch's is measured on its weights."""
    write_tiny_config(tmp_path / "config.json")
    setting = Setting(
        model=str(tmp_path / "config.json"),
        quantization="4bit",
        machine="h100",
        prompt_tokens=6,
        output_tokens=3,
    )
    machine = parse_machine(machine_data(findings(), "here", "1"), "here")
    with pytest.raises(InputError, match="is stored in q4_k; operations are run in bf16, f16, f32"):
        calibrate([("a", _plan(setting, "on-demand"))], machine, version="1")


def _plan(setting: Setting, policy: str) -> Plan:
    return Plan(
        setting=setting,
        goal=Goal(),
        policy=POLICIES[policy],
        predicted={},
        bounds={},
        binding_resource="gpu",
        provenance={},
        version="0",
    )
