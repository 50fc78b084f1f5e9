"""Machines and models given by name, as a file, or as objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwprofiles import Machine
    from sim.model.model import Model


def machine(
    name: str | Path | Machine, changes: Mapping[str, float | str] | None = None
) -> Machine:
    """Return a machine, given its name, a file, a line of parts, or the machine itself.

    ``changes`` sets numbers of the machine by their paths. Raises hwprofiles.InputError for an
    unknown name, an unreadable file, a part that is not understood, or a wrong path or value.

    >>> import rosin
    >>> rosin.machine("h100").gpu.count
    1
    >>> rosin.machine("RTX 4090 + Ryzen 9 7950X + 2x32GB DDR5-4800").gpu.name
    'GeForce RTX 4090'
    >>> rosin.machine("h100", {"link.h2d.bytes_per_s": 50e9}).link.h2d.bytes_per_s.value
    50000000000.0
    """
    from hwprofiles import Machine, load_machine, machine_data, parse_machine
    from hwprofiles.overrides import apply_overrides

    overrides = [f"{path}={value}" for path, value in (changes or {}).items()]
    if not isinstance(name, Machine):
        return load_machine(str(name), overrides)
    if not overrides:
        return name
    # The changes go through plain data, so a wrong value fails as it does in a file.
    where = f"{name.name} with {' '.join(overrides)}"
    return parse_machine(apply_overrides(machine_data(name), overrides), where)


def model(name: str | Path | Model, quantization: str | None = None) -> Model:
    """Return a model, given its name, a file (config.json, GGUF or YAML), or the model itself.

    ``quantization`` is the format of the weights, such as ``Q4_K_M``; None: the format that the
    file states. Raises hwprofiles.InputError for an unknown name, file or format.

    >>> import rosin
    >>> rosin.model("mixtral-8x7b").num_experts
    8
    """
    from sim.model.library import load_model, requantized
    from sim.model.model import Model

    if not isinstance(name, Model):
        return load_model(str(name), quantization)
    return name if quantization is None else requantized(name, quantization)
