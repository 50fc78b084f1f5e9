"""Routing by name: what ``load_routing`` takes."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from hwprofiles import InputError, Kind, Provenance, read_json, read_yaml, validated
from sim.model.model import Model
from sim.routing.base import Routing
from sim.routing.generated import GeneratedRouting, uniform
from sim.routing.spec import RoutingSpec
from sim.routing.trace_file import load_trace

MAX_NAME = 200
"""The limit of the length of a name of statistics that ship."""


def load_routing(spec: str | None, model: Model) -> Routing:
    """Return the routing that ``spec`` names.

    It is ``uniform``, ``popularity:FILE``, a ``.yaml`` of statistics, a recorded ``.npz`` trace, or
    the name of statistics that ship. None stands for the statistics that ship for the model, or
    uniform where none do. Raises InputError.
    """
    # Shipped names go first, so that a file of that name in the working folder changes no run.
    shipped = shipped_spec(model.name if spec is None else spec)
    if shipped is not None:
        return _from_yaml(shipped, model)
    if spec is None:
        return uniform()
    if spec == "uniform":
        return uniform()
    if spec.startswith("popularity:"):
        return _from_counts(Path(spec.removeprefix("popularity:")))
    path = Path(spec)
    if path.suffix in {".yaml", ".yml"}:
        return _from_yaml(path, model)
    if path.suffix == ".npz":
        return load_trace(path)
    raise InputError(
        f"`routing` {spec}: write uniform, popularity:FILE, a .yaml of statistics, a .npz trace, or {', '.join(shipped_names())}"
    )


def shipped_names() -> list[str]:
    """Names of the statistics that ship, sorted."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in _specs().iterdir()
        if entry.name.endswith(".yaml")
    )


def shipped_spec(name: str) -> Path | None:
    """Return the file of the shipped statistics of that name; None where there are none."""
    found = _specs() / f"{name}.yaml"
    return (
        Path(str(found)) if "/" not in name and len(name) < MAX_NAME and found.is_file() else None
    )


def _specs() -> Traversable:
    return resources.files("sim.routing") / "specs"


def load_spec(path: Path) -> RoutingSpec:
    """Read a routing file. Raises InputError."""
    return validated(RoutingSpec, read_yaml(path, "routing"), path)


def _from_yaml(path: Path, model: Model) -> Routing:
    spec = load_spec(path)
    if spec.num_experts != model.num_experts:
        raise InputError(
            f"{path}: statistics of {spec.num_experts} experts do not fit {model.name}, which has {model.num_experts}"
        )
    return spec.routing()


def _from_counts(path: Path) -> Routing:
    data = read_json(path, "popularity file")
    counts = data.get("counts_layer_expert")
    try:
        table = np.array(counts, np.float64)
    except (TypeError, ValueError, OverflowError):
        table = np.empty(0)
    if table.ndim != 2 or table.size == 0:
        raise InputError(
            f"{path}: key counts_layer_expert must hold one row of counts per MoE layer, equally long"
        )
    # Sums that overflow are refused below, in our own words.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = table.sum(axis=1)
    if not (np.isfinite(sums).all() and (table >= 0).all() and (sums > 0).all()):
        raise InputError(
            f"{path}: counts_layer_expert must be counts of at least 0, with a positive sum in every layer"
        )
    provenance = Provenance(
        kind=Kind.MEASURED,
        source=str(data.get("source", path.name)),
        date=str(data.get("date", "undated")),
    )
    return GeneratedRouting(
        label=f"popularity {path.stem}",
        stated_provenance=provenance,
        weights=tuple(map(tuple, table.tolist())),
    )
