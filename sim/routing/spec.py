"""The routing file ``rosin-routing/1``: published statistics, or a fitted generator."""

from dataclasses import fields, replace
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from hwprofiles import Kind, Provenance
from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_EXPERTS, MAX_LAYERS, MAX_QUANTITY
from hwprofiles.quantity import SourceDate, SourceText
from sim.routing.base import Routing
from sim.routing.fitted import FittedRouting
from sim.routing.fitted_numbers import FittedNumbers, GateProfile
from sim.routing.generated import GeneratedRouting
from sim.routing.latent import SUM_TOLERANCE, LatentNumbers, LatentRouting, Share

FORMAT: Literal["rosin-routing/1"] = "rosin-routing/1"
Weight = Annotated[float, Field(ge=0, le=MAX_QUANTITY)]
Numbers = TypeVar("Numbers", FittedNumbers, GateProfile)


class PredictionAccuracy(FilePart):
    """How often a predictor names the selected experts ``distance`` layers before their layer.

    ``by_layer`` [MoE layer] is the share of the selected experts that it names; null where it names
    none.
    """

    distance: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    by_layer: tuple[Share | None, ...]
    kind: Kind
    source: SourceText
    date: SourceDate


class RoutingSpec(FilePart):
    """Statistics as a YAML file states them.

    ``first_choice_repeat`` are points (position, share) of the published share of tokens whose
    first choice is that of the token before. A position is 0 at the first MoE layer and 1 at the
    last. ``popularity`` is [MoE layer, expert]. Instead of both, the file may state a ``generator``
    that is fitted to a trace of ``task``. It may also state ``latent`` numbers, from published
    statistics of how choices persist.
    """

    format: Literal["rosin-routing/1"]
    name: str
    num_experts: Annotated[int, Field(ge=2, le=MAX_EXPERTS)]
    task: str | None = None
    first_choice_repeat: tuple[tuple[Share, Share], ...] = ()
    popularity: Annotated[tuple[tuple[Weight, ...], ...], Field(min_length=1)] | None = None
    prediction_accuracy: tuple[PredictionAccuracy, ...] = ()
    kind: Kind
    source: str
    date: str
    generator: FittedNumbers | None = None
    latent: LatentNumbers | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        positions = [position for position, _ in self.first_choice_repeat]
        if any(later <= earlier for earlier, later in pairwise(positions)):
            raise ValueError(
                f"positions of first_choice_repeat must rise strictly, got {positions}"
            )
        for layer, row in enumerate(self.popularity or ()):
            if len(row) != self.num_experts or not sum(row) > 0:
                raise ValueError(
                    f"popularity of MoE layer {layer} must be {self.num_experts} shares with a positive sum, got {len(row)}"
                )
        stated = [name for name in ("generator", "latent") if getattr(self, name) is not None]
        if len(stated) == 2 or (
            stated and (self.first_choice_repeat or self.popularity is not None)
        ):
            raise ValueError(
                f"{stated[0]} stands instead of first_choice_repeat, popularity and any other generator: leave those out"
            )
        if self.generator is not None:
            self._check_generator(self.generator)
        return self

    def _check_generator(self, generator: FittedNumbers) -> None:
        if generator.inclusion.shape[2] != self.num_experts:
            raise ValueError(
                f"generator: inclusion has {generator.inclusion.shape[2]} experts, num_experts is {self.num_experts}"
            )
        if not generator.sequence_num_tokens:
            raise ValueError("generator: the key sequence_num_tokens is missing")
        # With a tolerance, as numbers in the file are rounded.
        off = np.abs(generator.inclusion.sum(axis=2) / generator.top_k - 1.0).max(initial=0.0)
        if off > SUM_TOLERANCE:
            raise ValueError(
                f"generator: inclusion of each class and layer must sum to top_k = {generator.top_k}, one is {off:.0%} off"
            )

    def routing(self) -> Routing:
        """Return the routing that the statistics stand for.

        A fitted or latent generator is taken as stated. Otherwise a fraction k of choices is kept
        so that k + (1 - k) · chance is the published repeat. Chance is the sum of the squared
        shares of a layer, which is 1 / experts where the popularity is uniform.
        """
        provenance = Provenance(kind=self.kind, source=self.source, date=self.date)
        accuracy = tuple((entry.distance, entry.by_layer) for entry in self.prediction_accuracy)
        if self.generator is not None:
            return FittedRouting(
                label=self.name,
                stated_provenance=provenance,
                numbers=_summing(self.generator),
                accuracy=accuracy,
            )
        if self.latent is not None:
            return LatentRouting(
                label=self.name,
                stated_provenance=provenance,
                num_experts=self.num_experts,
                numbers=self.latent,
                accuracy=accuracy,
            )
        kept = tuple(
            (position, _kept(repeat, chance)) for position, repeat, chance in self._repeats()
        )
        return GeneratedRouting(
            label=self.name,
            stated_provenance=provenance,
            weights=self.popularity,
            kept=kept or ((0.0, 0.0),),
            accuracy=accuracy,
        )

    def _repeats(self) -> list[tuple[float, float, float]]:
        """Return (position, published repeat, repeat by chance).

        The positions are those stated, or one for every layer where popularity makes chance differ.
        """
        if self.popularity is None or not self.first_choice_repeat:
            return [
                (position, repeat, 1.0 / self.num_experts)
                for position, repeat in self.first_choice_repeat
            ]
        shares = np.array(self.popularity) / np.sum(self.popularity, axis=1, keepdims=True)
        depth = np.linspace(0, 1, len(shares))
        repeats = np.interp(depth, *np.array(self.first_choice_repeat).T)
        return list(
            zip(depth.tolist(), repeats.tolist(), (shares**2).sum(axis=1).tolist(), strict=True)
        )


def _kept(repeat: float, chance: float) -> float:
    return max(0.0, (repeat - chance) / (1.0 - chance)) if chance < 1.0 else 0.0


def _summing(numbers: FittedNumbers) -> FittedNumbers:
    """Return the numbers with shares that sum to 1 again after the file's rounding.

    numpy's choice needs a sum of exactly 1.
    """
    return replace(
        numbers,
        class_share=numbers.class_share / sum(numbers.class_share.tolist()),
        class_chain=numbers.class_chain / numbers.class_chain.sum(axis=1, keepdims=True),
        copy_kernel=numbers.copy_kernel / sum(numbers.copy_kernel.tolist()),
    )


def fitted_spec(routing: FittedRouting, *, task: str, num_digits: int = 5) -> RoutingSpec:
    """Return the routing file of a fitted generator, with its numbers rounded to ``num_digits``."""
    provenance = routing.stated_provenance
    return RoutingSpec(
        format=FORMAT,
        name=routing.label,
        num_experts=routing.numbers.inclusion.shape[2],
        task=task,
        kind=provenance.kind,
        source=provenance.source,
        date=provenance.date,
        generator=_rounded(routing.numbers, num_digits),
    )


def _rounded(numbers: Numbers, num_digits: int) -> Numbers:
    """Return the numbers with every float and table rounded, those of nested parts too."""
    changes: dict[str, Any] = {}
    for item in fields(numbers):
        value = getattr(numbers, item.name)
        if isinstance(value, GateProfile):
            changes[item.name] = _rounded(value, num_digits)
        elif isinstance(value, np.ndarray):
            changes[item.name] = np.round(value, num_digits)
        elif isinstance(value, float):
            changes[item.name] = round(value, num_digits)
    return replace(numbers, **changes)
