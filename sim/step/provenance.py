"""Which numbers went into a run, and how far to trust what came out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, Machine, Operation, Provenance, Quantity, weakest
from sim.costs.cost_model import CostModel, Way
from sim.costs.roofline import Device, compute_type
from sim.model.model import TensorClass, layer_shapes
from sim.policies.actions import ON_CPU, LayerMode
from sim.step.lowering.decisions import Decisions
from sim.step.metrics import Metrics
from sim.step.simulate import Run, Scenario
from sim.workload.batch import Passes

X_OF: Mapping[Operation, str] = MappingProxyType(
    {Operation.COPY: "bytes", Operation.ATTENTION_DECODE: "context tokens"}
)
"""What the sizes of a curve count, for operations in which they are not tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedNumber:
    """A number of the machine that priced a run.

    ``value`` is the effective number; ``path`` holds its unit.
    """

    path: str
    value: float
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProvenance:
    """The numbers that a run rests on, and how far to trust them.

    ``weakest`` is the weakest provenance of the machine's numbers and of the routing.
    ``extrapolated`` says where measured curves were left.
    """

    weakest: Provenance
    routing: Provenance
    model: Provenance
    numbers: tuple[UsedNumber, ...]
    extrapolated: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """How many operations of one kind lie outside what was measured.

    These are ``num_outside`` of ``num_runs``. ``text`` completes a sentence that begins with their
    share.
    """

    text: str
    num_outside: int
    num_runs: int


class Executed(Protocol):
    """The decisions of some passes: of a run, or of a part of one."""

    @property
    def passes(self) -> Passes:
        """The passes."""

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The tokens that experts got [pass, layer, expert]."""

    @property
    def decisions(self) -> Decisions:
        """The decisions about these experts."""


class Charged(Protocol):
    """A run whose figures are known."""

    @property
    def scenario(self) -> Scenario:
        """The scenario that was run."""

    @property
    def metrics(self) -> Metrics:
        """The figures of the run or the part."""


def provenance_of(run: Run) -> RunProvenance:
    """Return the numbers behind a run, without those of resources that were never busy."""
    return provenance_with(run, outside_of(run.scenario, run, devices_of(run.metrics.busy_s)))


def provenance_with(run: Charged, outside: Iterable[Outside]) -> RunProvenance:
    """Return the numbers behind a run; ``outside`` says where it left measured curves."""
    numbers = tuple(_numbers(run))
    routing = run.scenario.routing.provenance
    return RunProvenance(
        weakest=weakest([number.provenance for number in numbers] + [routing]),
        routing=routing,
        model=run.scenario.model.provenance,
        numbers=numbers,
        extrapolated=extrapolated(outside),
    )


def _numbers(run: Charged) -> Iterator[UsedNumber]:
    machine = run.scenario.machine
    busy = run.metrics.busy_s
    yield _number("gpu.memory_bytes", machine.gpu.memory_bytes)
    if machine.gpu.context_bytes is not None:
        yield _number("gpu.context_bytes", machine.gpu.context_bytes)
    for device in devices_of(run.metrics.busy_s):
        part = machine.gpu if device == "gpu" else machine.cpu
        yield _number(f"{device}.memory_bytes_per_s", part.memory_bytes_per_s)
        rate = compute_type(part.flops_per_s, run.scenario.model.dtype(TensorClass.EXPERT))
        yield _number(f"{device}.flops_per_s.{rate}", part.flops_per_s[rate])
    # Only what was busy has been charged by its numbers.
    if busy["gpu"]:
        yield from _kernel_numbers(run)
    if busy["cpu"]:
        yield _number("cpu.call_overhead_ns", machine.cpu.call_overhead_ns)
    yield from _link_numbers(run)
    if busy["host"]:
        yield _number("host.layer_overhead_ns", machine.host.layer_overhead_ns)
        yield _number("host.step_overhead_ns", machine.host.step_overhead_ns)
    yield from _curves(run, machine)


def _kernel_numbers(run: Charged) -> Iterator[UsedNumber]:
    """Yield the numbers for what the GPU's kernels take besides reading and arithmetic."""
    gpu = run.scenario.machine.gpu
    model = run.scenario.model
    if not run.scenario.policy.overlap.captures_graphs:
        yield _number("gpu.launch_overhead_ns", gpu.launch_overhead_ns)
    yield _number("gpu.kernel_ns", gpu.kernel_ns)
    yield _number("gpu.serial_fraction", gpu.serial_fraction)
    if any(
        layer.bytes[which] < count
        for layer in model.layers
        for which, count in layer.params.items()
    ):
        yield _number("gpu.packed_rate_fraction", gpu.packed_rate_fraction)


def devices_of(busy: Mapping[str, float]) -> list[Device]:
    """Return the devices that were busy at all."""
    devices: tuple[Device, Device] = ("gpu", "cpu")
    return [device for device in devices if busy[device]]


def _link_numbers(run: Charged) -> Iterator[UsedNumber]:
    for name, direction in (
        ("h2d", run.scenario.machine.link.h2d),
        ("d2h", run.scenario.machine.link.d2h),
    ):
        if not run.metrics.busy_s[name]:
            continue
        # A machine that states no pageable rate is priced by the pinned one.
        is_pinned = run.scenario.policy.overlap.is_pinned or direction.pageable_bytes_per_s is None
        rate = direction.bytes_per_s if is_pinned else direction.pageable_bytes_per_s
        assert rate is not None
        yield _number(f"link.{name}.{'bytes_per_s' if is_pinned else 'pageable_bytes_per_s'}", rate)
        yield _number(f"link.{name}.latency_ns", direction.latency_ns)


def _curves(run: Charged, machine: Machine) -> Iterator[UsedNumber]:
    found = [
        (f"{curve.device} {curve.operation.value}", curve)
        for device in devices_of(run.metrics.busy_s)
        for curve in _priced_by(run, device)
    ]
    is_pinned = run.scenario.policy.overlap.is_pinned
    costs = CostModel(machine=machine, model=run.scenario.model)
    ways: tuple[Way, Way] = ("h2d", "d2h")
    copies = [costs.copy_curve(way, is_pinned=is_pinned) for way in ways if run.metrics.busy_s[way]]
    found += [(f"{curve.device} copy", curve) for curve in copies if curve is not None]
    for what, curve in found:
        x = X_OF.get(curve.operation, "tokens")
        path = f"curves.{machine.curves.index(curve)} ({what}, ns by {x})"
        yield UsedNumber(path=path, value=curve.points[0][1], provenance=curve.provenance)


def _priced_by(run: Charged, device: Device) -> list[Curve]:
    """The measured curves that price work on a device, each once."""
    model = run.scenario.model
    costs = CostModel(machine=run.scenario.machine, model=model)
    found = [costs.expert_curve(device), costs.head_curve(device)]
    for layer in layer_shapes(model)[0]:
        classes = model.layers[layer].params.keys() & {
            TensorClass.ROUTER,
            TensorClass.SHARED_EXPERT,
            TensorClass.DENSE_FFN,
        }
        found += [costs.weights_curve(device, layer, which) for which in sorted(classes)]
        found += costs.attention_curves(device, layer)
    # By identity: curves hold arrays, which do not compare, and each stands in the machine once.
    return list({id(curve): curve for curve in found if curve is not None}.values())


def outside_of(
    scenario: Scenario, executed: Executed, devices: Sequence[Device]
) -> tuple[Outside, ...]:
    """Where a run, or a part of one, leaves the measured curves of those devices."""
    return (
        *_outside_experts(scenario, executed, devices),
        *_outside_attention(scenario, executed, devices),
    )


def extrapolated(found: Iterable[Outside]) -> tuple[str, ...]:
    """Say where measured curves were left, the parts of a run taken together."""
    outside = Counter[str]()
    runs = Counter[str]()
    for each in found:
        outside[each.text] += each.num_outside
        runs[each.text] += each.num_runs
    return tuple(
        f"{outside[text] / count:.0%} {text}" for text, count in runs.items() if outside[text]
    )


def _outside_experts(
    scenario: Scenario, executed: Executed, devices: Sequence[Device]
) -> Iterator[Outside]:
    actions = executed.decisions.actions
    tokens = executed.tokens
    is_on_cpu = np.isin(actions, ON_CPU)
    costs = CostModel(machine=scenario.machine, model=scenario.model)
    for device in devices:
        on_device = is_on_cpu if device == "cpu" else ~is_on_cpu
        curve = costs.expert_curve(device)
        used = tokens[on_device & (tokens > 0)]
        if curve is None or not used.size:
            continue
        low, high = curve.range
        yield Outside(
            text=f"of {device} {Operation.EXPERT} runs lie outside the measured {low:g} to {high:g} tokens (extrapolated)",
            num_outside=int(np.count_nonzero(~curve.covers(used))),
            num_runs=int(used.size),
        )


def _outside_attention(
    scenario: Scenario, executed: Executed, devices: Sequence[Device]
) -> Iterator[Outside]:
    """Count the passes that were not measured as they are, for layers on a device with measured
    attention.
    """
    costs = CostModel(machine=scenario.machine, model=scenario.model)
    passes = executed.passes
    modes = executed.decisions.modes
    representatives, shape_of = layer_shapes(scenario.model)
    for device in devices:
        is_here = (modes == LayerMode.CPU) == (device == "cpu")
        outside = 0
        count = 0
        for shape, layer in enumerate(representatives):
            if not costs.attention_curves(device, layer):
                continue
            work = (
                passes.num_tokens,
                passes.num_sequences,
                passes.first_position,
                passes.context_tokens,
            )
            runs = is_here[:, shape_of == shape].sum(axis=1)
            outside += int(runs[costs.attention(device, layer, *work).is_extrapolated].sum())
            count += int(runs.sum())
        if count:
            yield Outside(
                text=f"of {device} attention runs have a context or number of sequences not measured (extrapolated)",
                num_outside=outside,
                num_runs=count,
            )


def _number(path: str, quantity: Quantity) -> UsedNumber:
    return UsedNumber(path=path, value=quantity.effective, provenance=quantity.provenance)
