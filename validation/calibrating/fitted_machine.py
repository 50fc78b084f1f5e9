"""Write a fit into a machine file: curves of the models that were run, scaled and marked as
fitted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwprofiles import Curve, Direction, Kind, Machine, Operation, Quantity, parse_machine
from sim.costs.cost_model import CostModel
from sim.model.model import Model
from validation.calibrating.fit import Fit
from validation.calibrating.observed_run import CostPart
from validation.calibrating.priced_part import PricedPart, priced_parts

WAYS = ("h2d", "d2h")

Data = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """The provenance of every number that was fitted."""

    source: str
    date: str

    def data(self) -> Data:
        """Return the provenance as a machine file has it."""
        return {"kind": Kind.FITTED.value, "source": self.source, "date": self.date}


def fitted_machine(
    machine: Machine,
    loads: Sequence[tuple[Model, int]],
    found: Fit,
    name: str,
    marking: Marking,
) -> Data:
    """Return the data of a machine file with the fit in it; the rest is unchanged.

    ``loads`` are the models that were run, each with how many sequences were decoded at once. The
    data are parsed once, so an invalid file is never returned.
    """
    data = machine.model_dump(mode="json", exclude_none=True)
    own = [
        priced
        for model, sequences in loads
        for priced in priced_parts(CostModel(machine=machine, model=model), sequences)
        if (priced.device, priced.part) in found.scales.factors
    ]
    # By identity: two curves may be equal and serve different parts.
    replaced = {id(curve) for priced in own for curve in priced.curves}
    curves = _fitted_curves(own, found, marking)
    # Loads may share a shape, and a machine file has one curve for each.
    made = {
        (curve["operation"], curve["device"], curve["dtype"], str(curve["shape"])): curve
        for curve in curves
    }
    left = [_copies(curve, found, marking) for curve in machine.curves if id(curve) not in replaced]
    data["curves"] = [*made.values(), *left]
    data["link"] |= {way: _direction(machine, way, found, marking) for way in WAYS}
    data["host"]["layer_overhead_ns"] = {"value": round(found.layer_overhead_ns), **marking.data()}
    data |= {"name": name, "description": f"{machine.description} Calibrated: {marking.source}."}
    # Parsed for the checks alone: Rosin must be able to read the file that it writes.
    parse_machine(data, f"calibrated machine {name}")
    return data


def _fitted_curves(own: Sequence[PricedPart], found: Fit, marking: Marking) -> Iterator[Data]:
    """Yield the curves of each part, times its factor.

    A part that is priced by rates gets a new curve of these prices.
    """
    for priced in own:
        factor = found.scales.factors[priced.device, priced.part]
        for curve in priced.curves:
            yield _scaled(curve, factor, marking)
        if not priced.curves:
            sizes = np.array(priced.sizes, np.float64)
            points = [
                [x, max(1.0, ns * factor)]
                for x, ns in zip(priced.sizes, priced.price_ns(sizes).tolist(), strict=True)
            ]
            source = f"{marking.source}; times {factor:.4g} (by the rates above)"
            where = {
                "operation": priced.operation.value,
                "device": priced.device,
                "dtype": priced.dtype,
                "shape": priced.shape,
            }
            yield where | {"points": points, **marking.data(), "source": source}


def _scaled(curve: Curve, factor: float, marking: Marking, delay_ns: float = 0.0) -> Data:
    """Return the curve times a factor, plus a delay; its source names the former curve's source."""
    # A curve has no times of zero or less.
    points = [[x, max(1.0, ns * factor + delay_ns)] for x, ns in curve.points]
    change = f"times {factor:.4g}" + (f", {delay_ns:+.0f} ns" if delay_ns else "")
    fitted = {
        "points": points,
        **marking.data(),
        "source": f"{marking.source}; {change} ({curve.kind}: {curve.source})",
    }
    return (
        curve.model_dump(mode="json", exclude_defaults=True)
        | fitted
        | {"dtype": curve.dtype, "shape": curve.shape}
    )


def _copies(curve: Curve, found: Fit, marking: Marking) -> Data:
    """Return a curve of copies with the fit of its direction.

    Other curves, and curves of a direction that was not run, are unchanged.
    """
    way = curve.device.removesuffix("_pageable")
    if curve.operation is not Operation.COPY or not _is_fitted(way, found):
        return curve.model_dump(mode="json", exclude_defaults=True)
    return _scaled(curve, _factor(way, found), marking, _delay_ns(way, found))


def _direction(machine: Machine, way: str, found: Fit, marking: Marking) -> Data:
    """Return a direction of the link: rates divided by its factor, its delay added to the
    latency.
    """
    direction: Direction = getattr(machine.link, way)
    data: Data = direction.model_dump(mode="json", exclude_none=True)
    if not _is_fitted(way, found):
        return data
    latency_ns = max(
        0, round(direction.latency_ns.effective * _factor(way, found) + _delay_ns(way, found))
    )
    data["latency_ns"] = {"value": latency_ns, **marking.data()}
    for key in ("bytes_per_s", "pageable_bytes_per_s"):
        quantity: Quantity | None = getattr(direction, key)
        if quantity is not None and (way, CostPart.COPY) in found.scales.factors:
            data[key] = {"value": quantity.effective / _factor(way, found), **marking.data()}
    return data


def _is_fitted(way: str, found: Fit) -> bool:
    return (way, CostPart.COPY) in found.scales.factors or way in found.scales.copy_delays_ns


def _factor(way: str, found: Fit) -> float:
    return found.scales.factors.get((way, CostPart.COPY), 1.0)


def _delay_ns(way: str, found: Fit) -> float:
    return found.scales.copy_delays_ns.get(way, 0.0)
