"""Routing by name: what ``--routing`` takes."""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwprofiles import InputError, Kind, Provenance, first_problem, read_yaml
from sim.model import Model
from sim.routing.base import Routing
from sim.routing.generated import GeneratedRouting, uniform
from sim.routing.recorded import load_trace


class RoutingSpec(BaseModel):
    """A generator's statistics as a YAML file states them.

    ``first_choice_repeat`` is the published share of tokens whose first choice is the token before's, at
    positions in depth from 0 (first MoE layer) to 1 (last); ``popularity`` is [MoE layer, expert].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["rosin-routing/1"]
    name: str
    num_experts: Annotated[int, Field(ge=2)]
    first_choice_repeat: tuple[tuple[float, float], ...] = ()
    popularity: tuple[tuple[float, ...], ...] | None = None
    kind: Kind
    source: str
    date: str

    def routing(self) -> GeneratedRouting:
        """The generator: a fraction k of choices is kept so that k + (1 − k) / experts is the published repeat."""
        chance = 1.0 / self.num_experts
        kept = tuple((position, max(0.0, (repeat - chance) / (1.0 - chance))) for position, repeat in self.first_choice_repeat)
        provenance = Provenance(kind=self.kind, source=self.source, date=self.date)
        return GeneratedRouting(label=self.name, stated_provenance=provenance, weights=self.popularity, kept=kept or ((0.0, 0.0),))


def load_routing(spec: str | None, model: Model) -> Routing:
    """``uniform``, ``popularity:FILE``, a ``.yaml`` of statistics, or a recorded ``.npz`` trace.

    None stands for the statistics that ship for the model, uniform where none do. Raises InputError.
    """
    if spec is None:
        shipped = resources.files("sim.routing") / "specs" / f"{model.name}.yaml"
        return _from_yaml(Path(str(shipped))) if shipped.is_file() else uniform()
    if spec == "uniform":
        return uniform()
    if spec.startswith("popularity:"):
        return _from_counts(Path(spec.removeprefix("popularity:")))
    path = Path(spec)
    if path.suffix in {".yaml", ".yml"}:
        return _from_yaml(path)
    if path.suffix == ".npz":
        if not path.is_file():
            raise InputError(f"no routing trace {spec}")
        return load_trace(path)
    raise InputError(f"--routing {spec}: write uniform, popularity:FILE, a .yaml of statistics or a .npz trace")


def _from_yaml(path: Path) -> Routing:
    try:
        return RoutingSpec.model_validate(read_yaml(path, "routing")).routing()
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, RoutingSpec)}") from None


def _from_counts(path: Path) -> Routing:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read popularity file {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    counts = data.get("counts_layer_expert") if isinstance(data, dict) else None
    try:
        table = np.array(counts, np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"{path}: key counts_layer_expert must hold one row of counts per MoE layer, equally long")
    if not (np.isfinite(table).all() and (table >= 0).all() and (table.sum(axis=1) > 0).all()):
        raise InputError(f"{path}: counts_layer_expert must be counts of at least 0, with a positive sum in every layer")
    provenance = Provenance(kind=Kind.MEASURED, source=str(data.get("source", path.name)), date=str(data.get("date", "undated")))
    return GeneratedRouting(label=f"popularity {path.stem}", stated_provenance=provenance, weights=tuple(map(tuple, table.tolist())))
