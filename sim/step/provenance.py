"""Which numbers went into a run, and how far to trust what came out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from hwprofiles import Curve, Machine, Operation, Provenance, Quantity, weakest
from sim.costs.cost_model import CostModel, Device, Way, compute_type
from sim.model.model import TensorClass, layer_shapes
from sim.policies.actions import ON_CPU, LayerMode
from sim.step.simulate import Run

X_OF: Mapping[Operation, str] = MappingProxyType(
    {Operation.COPY: "bytes", Operation.ATTENTION_DECODE: "context tokens"}
)
"""What a curve's sizes are, where they are not tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedNumber:
    """A number of the machine that a run was charged by; ``value`` is the effective one, its unit
    is in the path.
    """

    path: str
    value: float
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProvenance:
    """What a run rests on.

    ``weakest`` is the weakest of the machine's numbers and the routing; ``extrapolated`` says where
    curves were left.
    """

    weakest: Provenance
    routing: Provenance
    model: Provenance
    numbers: tuple[UsedNumber, ...]
    extrapolated: tuple[str, ...]


def provenance_of(run: Run) -> RunProvenance:
    """The numbers behind the resources that the run kept busy."""
    numbers = tuple(_numbers(run))
    routing = run.scenario.routing.provenance
    return RunProvenance(
        weakest=weakest([number.provenance for number in numbers] + [routing]),
        routing=routing,
        model=run.scenario.model.provenance,
        numbers=numbers,
        extrapolated=(*_extrapolated(run), *_extrapolated_attention(run)),
    )


def _numbers(run: Run) -> Iterator[UsedNumber]:
    machine, busy = run.scenario.machine, run.metrics.busy_s
    yield _number("gpu.memory_bytes", machine.gpu.memory_bytes)
    if machine.gpu.context_bytes is not None:
        yield _number("gpu.context_bytes", machine.gpu.context_bytes)
    for device in _devices(run):
        part = machine.gpu if device == "gpu" else machine.cpu
        yield _number(f"{device}.memory_bytes_per_s", part.memory_bytes_per_s)
        rate = compute_type(part.flops_per_s, run.scenario.model.dtype(TensorClass.EXPERT))
        yield _number(f"{device}.flops_per_s.{rate}", part.flops_per_s[rate])
    if busy["gpu"]:
        yield from _kernel_numbers(run)
    if busy["cpu"]:
        yield _number("cpu.call_overhead_ns", machine.cpu.call_overhead_ns)
    yield from _link_numbers(run)
    if busy["host"]:
        yield _number("host.layer_overhead_ns", machine.host.layer_overhead_ns)
        yield _number("host.step_overhead_ns", machine.host.step_overhead_ns)
    yield from _curves(run, machine)


def _kernel_numbers(run: Run) -> Iterator[UsedNumber]:
    """What the GPU's kernels take beside reading and arithmetic."""
    gpu, model = run.scenario.machine.gpu, run.scenario.model
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


def _devices(run: Run) -> list[Device]:
    devices: tuple[Device, Device] = ("gpu", "cpu")
    return [device for device in devices if run.metrics.busy_s[device]]


def _link_numbers(run: Run) -> Iterator[UsedNumber]:
    for name, direction in (
        ("h2d", run.scenario.machine.link.h2d),
        ("d2h", run.scenario.machine.link.d2h),
    ):
        if not run.metrics.busy_s[name]:
            continue
        is_pinned = run.scenario.policy.overlap.is_pinned or direction.pageable_bytes_per_s is None
        rate = direction.bytes_per_s if is_pinned else direction.pageable_bytes_per_s
        assert rate is not None
        yield _number(f"link.{name}.{'bytes_per_s' if is_pinned else 'pageable_bytes_per_s'}", rate)
        yield _number(f"link.{name}.latency_ns", direction.latency_ns)


def _curves(run: Run, machine: Machine) -> Iterator[UsedNumber]:
    found = [
        (f"{curve.device} {curve.operation.value}", curve)
        for device in _devices(run)
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


def _priced_by(run: Run, device: Device) -> list[Curve]:
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
    return list({id(curve): curve for curve in found if curve is not None}.values())


def _extrapolated(run: Run) -> Iterator[str]:
    actions, tokens = run.decisions.actions, run.tokens
    is_on_cpu = np.isin(actions, ON_CPU)
    for device in _devices(run):
        on_device = is_on_cpu if device == "cpu" else ~is_on_cpu
        curve = CostModel(machine=run.scenario.machine, model=run.scenario.model).expert_curve(
            device
        )
        used = tokens[on_device & (tokens > 0)]
        if curve is None or not used.size:
            continue
        outside = int(np.count_nonzero(~curve.covers(used)))
        if outside:
            share = outside / used.size
            low, high = curve.range
            yield f"{share:.0%} of {device} {Operation.EXPERT} runs lie outside the measured {low:g} to {high:g} tokens (extrapolated)"


def _extrapolated_attention(run: Run) -> Iterator[str]:
    """Of the layers that run on a device which has measured attention, how many passes were not
    measured as they are.
    """
    costs, passes, modes = (
        CostModel(machine=run.scenario.machine, model=run.scenario.model),
        run.passes,
        run.decisions.modes,
    )
    representatives, shape_of = layer_shapes(run.scenario.model)
    for device in _devices(run):
        is_here, outside, count = (modes == LayerMode.CPU) == (device == "cpu"), 0, 0
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
        if outside:
            yield f"{outside / count:.0%} of {device} attention runs have a context or number of sequences not measured (extrapolated)"


def _number(path: str, quantity: Quantity) -> UsedNumber:
    return UsedNumber(path=path, value=quantity.effective, provenance=quantity.provenance)
