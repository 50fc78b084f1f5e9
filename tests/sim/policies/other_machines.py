"""Machines that differ from a given one in the speed of some of their resources, and routings that
differ from a given one in the numbers of their experts.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hwprofiles import Machine, machine_data, parse_machine

RESOURCES: Mapping[str, tuple[str, ...]] = {
    "gpu": ("gpu",),
    "cpu": ("cpu",),
    "h2d": ("link.h2d",),
    "d2h": ("link.d2h",),
    "host": ("host",),
}
"""Parts of a machine file whose numbers say how fast a resource of the simulation is."""
_CURVES = {
    "gpu": ("gpu",),
    "cpu": ("cpu",),
    "h2d": ("h2d", "h2d_pageable"),
    "d2h": ("d2h", "d2h_pageable"),
}
_TIMES = (
    "latency_ns",
    "launch_overhead_ns",
    "kernel_ns",
    "call_overhead_ns",
    "layer_overhead_ns",
    "step_overhead_ns",
)


def faster(machine: Machine, resources: tuple[str, ...], factor: float) -> Machine:
    """The machine with those resources ``factor`` times as fast: rates, latencies, overheads and
    measured curves alike.
    """
    data = machine_data(machine)
    data["gpu"]["kernel_ns"] = machine.gpu.kernel_ns.model_dump(mode="json")  # at its default, too
    for name in resources:
        for path in RESOURCES[name]:
            node = data
            for key in path.split("."):
                node = node[key]
            _quicken(node, factor)
    devices = [device for name in resources for device in _CURVES.get(name, ())]
    for curve in data.get("curves") or ():
        if curve["device"] in devices:
            curve["points"] = [[size, ns / factor] for size, ns in curve["points"]]
    return parse_machine(data, machine.name)


def _quicken(node: Any, factor: float) -> None:
    """Change every rate and every time in a part, whatever it is nested in."""
    for key, value in list(node.items()):
        if key.endswith("_per_s"):
            _each_value(value, lambda old: old * factor)
        elif key in _TIMES and value is not None:
            _each_value(value, lambda old: old / factor)
        elif isinstance(value, dict):
            _quicken(value, factor)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    _quicken(item, factor)


def _each_value(node: Any, change: Callable[[float], float]) -> None:
    """Change a quantity, or each of a table of quantities."""
    if not isinstance(node, dict):
        return
    if "value" in node:
        node["value"] = change(float(node["value"]))
        return
    for inner in node.values():
        _each_value(inner, change)
