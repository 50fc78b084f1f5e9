"""Write findings as a machine file."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import torch

from hwprofiles import InputError, Operation, parse_machine
from hwprofiles.machine import FORMAT
from hwprofiles.units import GIGA, NS_PER_S, format_bytes
from validation.measuring.lane_probes import Gaps
from validation.measuring.measure import Findings
from validation.measuring.plausibility import rate_of
from validation.measuring.probe import CurveKey
from validation.measuring.sampling import MeasuredPoint
from validation.measuring.smoothing import smoothed

EMULATED = "Emulated accelerator"
"""Beginning of the description of every machine whose accelerator is a core of the host."""

DECISION = "end of a gate, by way of who waits for it, to the start of what follows; no deciding"

Data = dict[str, Any]


def machine_data(findings: Findings, name: str, version: str) -> Data:
    """Return the data of the complete machine file, found valid. ``version`` is Rosin's."""
    data = _Writer(findings, name, version).data()
    # A file that this program would refuse is never handed over.
    parse_machine(data, f"measured machine {name}")
    return data


class _Writer:
    """Puts one set of findings into the words of the format."""

    def __init__(self, findings: Findings, name: str, version: str) -> None:
        self._found = findings
        self._name = name
        self._date = date.today().isoformat()
        self._tool = f"rosin measure {version}, {findings.around.software}"

    def data(self) -> Data:
        """Return the data of the whole file."""
        return {
            "format": FORMAT,
            "name": self._name,
            "description": self._description(),
            "gpu": self._gpu(),
            "cpu": self._cpu(),
            "link": self._link(),
            "host": self._host(),
            "curves": [self._curve(key, points) for key, points in self._own_curves],
            "interference": [
                {
                    "busy": factor.busy,
                    "slows": factor.slows,
                    "rate_fraction": self._quantity(
                        factor.rate_fraction,
                        f"{_load_text(factor.slows)} alone and beside {_load_text(factor.busy)}",
                        factor.num_samples,
                        factor.spread_fraction,
                    ),
                }
                for factor in self._found.factors
            ],
        }

    def _description(self) -> str:
        around = self._found.around
        models = ", ".join(self._found.models)
        formats = ", ".join(self._found.dtypes)
        measured = (
            f"Measured on {self._date} by {self._tool}, for the shapes of {models} in {formats}."
        )
        if self._found.is_cuda:
            return f"{torch.cuda.get_device_name()} and {around.cpu}, {len(around.cores)} cores. {measured}"
        rate = self._found.emulation.link_bytes_per_s / GIGA
        return (
            f"{EMULATED}: core {around.cores[0]} of {around.cpu} computes as the GPU, {_cores(self._found.cpu_cores)} as the CPU, "
            f"and copies are paced to {rate:g} GB/s. It is no GPU. {measured}"
        )

    def _gpu(self) -> Data:
        found = self._found
        if found.is_cuda:
            name = torch.cuda.get_device_name()
            total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
            memory = self._quantity(total, "torch.cuda.get_device_properties, total_memory")
            context: Data = {}
        else:
            name = f"emulated accelerator: core {found.around.cores[0]} of {found.around.cpu}"
            memory = self._stated(
                found.emulation.memory_bytes,
                "memory of an emulated accelerator: stated, not measured",
            )
            context = {"context_bytes": self._stated(0, "an emulated accelerator has no driver")}
        return {
            "name": name,
            "memory_bytes": memory,
            **context,
            **self._rates("gpu"),
            "launch_overhead_ns": self._gap(
                found.gaps.launch, "one of many additions of one number"
            ),
        }

    def _cpu(self) -> Data:
        around = self._found.around
        return {
            "name": around.cpu,
            "sockets": around.sockets,
            "cores": len(self._found.cpu_cores),
            "memory_bytes": self._quantity(
                around.memory_bytes, "what the system lets this process use"
            ),
            **self._rates("cpu"),
            "call_overhead_ns": self._gap(
                self._found.gaps.call, "an empty task handed to a lane that sleeps, and waited for"
            ),
        }

    def _rates(self, device: str) -> Data:
        """Return the rates for shapes without a curve.

        The rate of memory is that of reading an expert of one token (on a GPU, or of a plain read).
        FLOPs are the most that a product reaches.
        """
        own = [
            point
            for key, points in self._found.curves.items()
            if key.device == device
            for point in points
        ]
        products = [point for point in own if point.probe.flops]
        wanted = (
            {Operation.EXPERT, Operation.MEMORY_READ} if self._found.is_cuda else {Operation.EXPERT}
        )
        reads = [
            point for point in own if point.probe.key.operation in wanted and point.probe.x == 1
        ]
        if not reads:
            raise InputError(
                f"no expert of one token was measured plausibly on the {device}: measure again when this computer is quiet"
            )
        # Launches slow small shapes, and have a price of their own.
        fastest = max(reads, key=lambda point: rate_of(point, point.ns))
        return {
            "memory_bytes_per_s": self._of_point(fastest, rate_of(fastest, fastest.ns)),
            "flops_per_s": {
                dtype: self._most_flops(products, dtype) for dtype in self._found.dtypes
            },
        }

    def _most_flops(self, products: Sequence[MeasuredPoint], dtype: str) -> Data:
        best = max(
            (point for point in products if point.probe.key.dtype == dtype),
            key=lambda point: point.probe.flops / point.ns,
        )
        return self._of_point(best, best.probe.flops / best.ns * NS_PER_S)

    def _link(self) -> Data:
        paced = (
            f"emulated link, copies paced to {self._found.emulation.link_bytes_per_s / GIGA:g} GB/s"
        )
        return {
            "name": "host to GPU" if self._found.is_cuda else paced,
            "h2d": self._direction("h2d"),
            "d2h": self._direction("d2h"),
        }

    def _direction(self, way: str) -> Data:
        pinned = self._copies(way)
        pageable = self._copies(f"{way}_pageable")
        rates = {"bytes_per_s": self._copy_rate(pinned)} | (
            {"pageable_bytes_per_s": self._copy_rate(pageable)} if pageable else {}
        )
        # The smallest copy is nearly all latency.
        smallest = pinned[0]
        beyond_ns = max(
            0.0, smallest.ns - smallest.probe.x / rates["bytes_per_s"]["value"] * NS_PER_S
        )
        source = f"copy of {format_bytes(smallest.probe.x)}, less its bytes at the rate"
        return rates | {
            "latency_ns": self._quantity(
                beyond_ns, source, smallest.num_samples, smallest.spread_fraction
            )
        }

    def _copies(self, kind: str) -> tuple[MeasuredPoint, ...]:
        return next(
            (
                points
                for key, points in self._found.curves.items()
                if (key.operation, key.device) == (Operation.COPY, kind)
            ),
            (),
        )

    def _copy_rate(self, points: tuple[MeasuredPoint, ...]) -> Data:
        # The largest copy is nearly all rate.
        largest = points[-1]
        if self._found.is_cuda:
            source = f"copy of {format_bytes(largest.probe.x)}"
            return self._quantity(
                largest.probe.x / largest.ns * NS_PER_S,
                source,
                largest.num_samples,
                largest.spread_fraction,
            )
        stated = self._found.emulation.link_bytes_per_s
        longer = largest.ns * stated / NS_PER_S / largest.probe.x - 1
        paced = f"copies are paced to it, and one of {format_bytes(largest.probe.x)} was measured to take {longer:+.1%} longer"
        return self._stated(stated, f"rate of an emulated link: stated; {paced}")

    @property
    def _own_curves(self) -> list[tuple[CurveKey, tuple[MeasuredPoint, ...]]]:
        """The measured curves that the file has.

        Copies that are paced to a rate have none: the rate says what they cost.
        """
        is_real = self._found.is_cuda
        return sorted(
            (key, own)
            for key, own in self._found.curves.items()
            if is_real or key.operation is not Operation.COPY
        )

    def _host(self) -> Data:
        gaps = self._found.gaps
        return {
            "layer_overhead_ns": self._gap(gaps.decision, DECISION),
            "step_overhead_ns": self._stated(0, "none beyond the layers' own was looked for"),
            "hand_over_ns": self._gap(
                gaps.hand_over,
                "end of a task to the start of one on another lane that waited for it",
            ),
        }

    def _curve(self, key: CurveKey, points: tuple[MeasuredPoint, ...]) -> Data:
        ns = [point.ns for point in points]
        spreads = [point.spread_fraction for point in points]
        # More threads read faster for real, so a fall there is no noise.
        values = ns if key.operation is Operation.MEMORY_READ else smoothed(ns, spreads)
        samples = sorted({point.num_samples for point in points})
        counts = str(samples[0]) if len(samples) == 1 else f"{samples[0]} to {samples[-1]}"
        disturbed = sum(point.num_disturbed for point in points)
        quiet = f", {disturbed} disturbed ones left out" if disturbed else ""
        cold = (
            ""
            if key.operation is Operation.COPY
            else f", weights cycled through {format_bytes(self._found.cold_bytes)}"
        )
        own = {"dtype": key.dtype} if key.dtype else {}
        return {
            "operation": key.operation.value,
            "device": key.device,
            **own,
            "shape": dict(key.shape),
            "points": [
                [point.probe.x, round(value)] for point, value in zip(points, values, strict=True)
            ],
            "spread_fractions": [round(spread, 3) for spread in spreads],
            "kind": "measured",
            "source": f"{self._tool}; medians of {counts} interleaved samples{quiet}{cold}",
            "date": self._date,
        }

    def _of_point(self, point: MeasuredPoint, value: float) -> Data:
        return self._quantity(
            value,
            f"{point.probe.key.text} at {point.probe.x:,}",
            point.num_samples,
            point.spread_fraction,
        )

    def _gap(self, found: Gaps, what: str) -> Data:
        return self._quantity(round(found.ns), what, found.num_samples, found.spread_fraction)

    def _quantity(
        self, value: float, what: str, num_samples: int = 0, spread_fraction: float = 0.0
    ) -> Data:
        noise = f"; median of {num_samples}, spread {spread_fraction:.1%}" if num_samples else ""
        return {
            "value": _digits(value),
            "kind": "measured",
            "source": f"{self._tool}: {what}{noise}",
            "date": self._date,
        }

    def _stated(self, value: float, why: str) -> Data:
        return {"value": value, "kind": "assumed", "source": why, "date": self._date}


def _load_text(lane: str) -> str:
    return (
        "copies host to device"
        if lane == "h2d"
        else "copies device to host"
        if lane == "d2h"
        else f"one-token experts on the {lane}"
    )


def _cores(cores: Iterable[int]) -> str:
    numbers = list(cores)
    return f"core {numbers[0]}" if len(numbers) == 1 else f"cores {numbers[0]} to {numbers[-1]}"


def _digits(value: float) -> float:
    """Return the value to four significant digits, as a measurement has no more.

    Whole numbers from 10,000 on keep six.
    """
    return (
        float(f"{value:.4g}") if value < 1e4 or value != int(value) else int(float(f"{value:.6g}"))
    )
