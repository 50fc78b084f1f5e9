"""Routing by name: what ``--routing`` takes."""

import json
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwprofiles import InputError, Kind, Provenance, first_problem, read_yaml
from sim.model import Model
from sim.routing.base import Routing
from sim.routing.generated import GeneratedRouting, uniform
from sim.routing.recorded import load_trace

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class RoutingSpec(BaseModel):
    """A generator's statistics as a YAML file states them.

    ``first_choice_repeat`` is the published share of tokens whose first choice is the token before's, at
    positions in depth from 0 (first MoE layer) to 1 (last); ``popularity`` is [MoE layer, expert].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["rosin-routing/1"]
    name: str
    num_experts: Annotated[int, Field(ge=2)]
    first_choice_repeat: tuple[tuple[Share, Share], ...] = ()
    popularity: Annotated[tuple[tuple[Weight, ...], ...], Field(min_length=1)] | None = None
    kind: Kind
    source: str
    date: str

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        positions = [position for position, _ in self.first_choice_repeat]
        if any(later <= earlier for earlier, later in pairwise(positions)):
            raise ValueError(f"positions of first_choice_repeat must rise strictly, got {positions}")
        for layer, row in enumerate(self.popularity or ()):
            if len(row) != self.num_experts or not sum(row) > 0:
                raise ValueError(f"popularity of MoE layer {layer} must be {self.num_experts} shares with a positive sum, got {len(row)}")
        return self

    def routing(self) -> GeneratedRouting:
        """The generator: a fraction k of choices is kept so that k + (1 − k) · chance is the published repeat.

        Chance is the sum of the squared shares of a layer: 1 / experts where the popularity is uniform.
        """
        kept = tuple((position, _kept(repeat, chance)) for position, repeat, chance in self._repeats())
        provenance = Provenance(kind=self.kind, source=self.source, date=self.date)
        return GeneratedRouting(label=self.name, stated_provenance=provenance, weights=self.popularity, kept=kept or ((0.0, 0.0),))

    def _repeats(self) -> list[tuple[float, float, float]]:
        """(position, published repeat, repeat by chance): as stated, or at every layer where popularity makes chance differ."""
        if self.popularity is None or not self.first_choice_repeat:
            return [(position, repeat, 1.0 / self.num_experts) for position, repeat in self.first_choice_repeat]
        shares = np.array(self.popularity) / np.sum(self.popularity, axis=1, keepdims=True)
        depth = np.linspace(0, 1, len(shares))
        repeats = np.interp(depth, *np.array(self.first_choice_repeat).T)
        return list(zip(depth.tolist(), repeats.tolist(), (shares**2).sum(axis=1).tolist(), strict=True))


def _kept(repeat: float, chance: float) -> float:
    return max(0.0, (repeat - chance) / (1.0 - chance)) if chance < 1.0 else 0.0


def load_routing(spec: str | None, model: Model) -> Routing:
    """``uniform``, ``popularity:FILE``, a ``.yaml`` of statistics, or a recorded ``.npz`` trace.

    None stands for the statistics that ship for the model, uniform where none do. Raises InputError.
    """
    if spec is None:
        shipped = resources.files("sim.routing") / "specs" / f"{model.name}.yaml"
        return _from_yaml(Path(str(shipped)), model) if shipped.is_file() else uniform()
    if spec == "uniform":
        return uniform()
    if spec.startswith("popularity:"):
        return _from_counts(Path(spec.removeprefix("popularity:")))
    path = Path(spec)
    if path.suffix in {".yaml", ".yml"}:
        return _from_yaml(path, model)
    if path.suffix == ".npz":
        if not path.is_file():
            raise InputError(f"no routing trace {spec}")
        return load_trace(path)
    raise InputError(f"--routing {spec}: write uniform, popularity:FILE, a .yaml of statistics or a .npz trace")


def _from_yaml(path: Path, model: Model) -> Routing:
    try:
        spec = RoutingSpec.model_validate(read_yaml(path, "routing"))
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, RoutingSpec)}") from None
    if spec.num_experts != model.num_experts:
        raise InputError(f"{path}: statistics of {spec.num_experts} experts do not fit {model.name}, which has {model.num_experts}")
    return spec.routing()


def _from_counts(path: Path) -> Routing:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read popularity file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    counts = data.get("counts_layer_expert") if isinstance(data, dict) else None
    try:
        table = np.array(counts, np.float64)
    except (TypeError, ValueError, OverflowError):
        table = np.empty(0)
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"{path}: key counts_layer_expert must hold one row of counts per MoE layer, equally long")
    with np.errstate(over="ignore", invalid="ignore"):
        sums = table.sum(axis=1)
    if not (np.isfinite(sums).all() and (table >= 0).all() and (sums > 0).all()):
        raise InputError(f"{path}: counts_layer_expert must be counts of at least 0, with a positive sum in every layer")
    provenance = Provenance(kind=Kind.MEASURED, source=str(data.get("source", path.name)), date=str(data.get("date", "undated")))
    return GeneratedRouting(label=f"popularity {path.stem}", stated_provenance=provenance, weights=tuple(map(tuple, table.tolist())))
