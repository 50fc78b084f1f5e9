"""The routing file ``rosin-routing/1``: published statistics, or a generator fitted to a trace."""

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from hwprofiles import Kind, Provenance
from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_EXPERTS, MAX_LAYERS, MAX_QUANTITY, MAX_TOKENS
from hwprofiles.quantity import SourceDate, SourceText
from sim.routing.base import Routing
from sim.routing.fitted import FittedRouting, GateProfile
from sim.routing.generated import GeneratedRouting
from sim.routing.latent import Fading, LatentRouting, Share, SharePoints
from sim.routing.stated import Accuracy

FORMAT: Literal["rosin-routing/1"] = "rosin-routing/1"
Weight = Annotated[float, Field(ge=0, le=MAX_QUANTITY)]
MAX_SPREAD = 1e6
"""Of scores, in natural logarithms."""
Experts = Annotated[int, Field(ge=1, le=MAX_EXPERTS)]
TokensOfTrace = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
SUM_TOLERANCE = 0.01
"""What rounding in the file may take from a sum."""


class GateSpec(FilePart):
    """Gate weights: mean and spread of their natural logarithms [MoE layer][rank], and the
    correlation between ranks.
    """

    log_mean: tuple[tuple[float, ...], ...]
    log_spread: tuple[tuple[Weight, ...], ...]
    correlation: Share


class GeneratorSpec(FilePart):
    """The numbers of ``FittedRouting``; lags of ``class_kept`` and ``copy_kernel`` count from 1."""

    top_k: Experts
    class_share: Annotated[tuple[Share, ...], Field(min_length=1)]
    class_chain: tuple[tuple[Share, ...], ...]
    class_kept: tuple[Share, ...]
    copy_kernel: tuple[Share, ...]
    copied: tuple[Share, ...]
    request_spread: tuple[Weight, ...]
    drift_spread: tuple[Weight, ...]
    drift_tokens: Annotated[float, Field(ge=1, le=MAX_QUANTITY)]
    linked_fraction: Share
    gate: GateSpec | None = None
    sequence_num_tokens: Annotated[tuple[TokensOfTrace, ...], Field(min_length=1)]
    inclusion: Annotated[tuple[tuple[tuple[Share, ...], ...], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        classes = len(self.class_share)
        layers = len(self.inclusion[0])
        widths = {len(row) for table in self.inclusion for row in table}
        if (
            len(widths) != 1
            or len(self.inclusion) != classes
            or any(len(table) != layers for table in self.inclusion)
        ):
            raise ValueError(
                f"inclusion must be [class][MoE layer][expert] for the {classes} classes of class_share, all equally long"
            )
        # With a tolerance, as numbers in the file are rounded.
        off = np.abs(np.array(self.inclusion).sum(axis=2) / self.top_k - 1.0).max()
        if off > SUM_TOLERANCE:
            raise ValueError(
                f"inclusion of each class and layer must sum to top_k = {self.top_k}, one is {off:.0%} off"
            )
        chain = [len(row) for row in self.class_chain]
        if chain != [classes] * classes:
            raise ValueError(f"class_chain must be {classes} x {classes}, got rows of {chain}")
        for name in ("copied", "request_spread", "drift_spread"):
            if len(getattr(self, name)) != layers:
                raise ValueError(
                    f"{name} must have a number for each of {layers} MoE layers, got {len(getattr(self, name))}"
                )
        for name, row in (
            ("class_share", self.class_share),
            ("copy_kernel", self.copy_kernel),
            *(("class_chain", row) for row in self.class_chain),
        ):
            if abs(sum(row) - 1.0) > SUM_TOLERANCE:
                raise ValueError(f"{name} must sum to 1, got {sum(row):.3f}")
        if sum(self.class_kept) > 1.0:
            raise ValueError(f"class_kept must sum to at most 1, got {sum(self.class_kept):.3f}")
        shape = (layers, self.top_k)
        if self.gate is not None and (
            np.shape(self.gate.log_mean) != shape or np.shape(self.gate.log_spread) != shape
        ):
            raise ValueError(
                f"gate: log_mean and log_spread must be {layers} MoE layers x {self.top_k} ranks"
            )
        return self


class LatentSpec(FilePart):
    """The numbers of ``LatentRouting``: shares of the score's variance as [position, share],
    positions in depth from 0 to 1.
    """

    score_spread: Annotated[float, Field(gt=0, le=MAX_SPREAD)]
    popularity_share: SharePoints
    request_share: SharePoints
    fading: tuple[Fading, ...] = ()
    skew: Annotated[float, Field(ge=0, le=3)] = 0.0

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        parts = (self.popularity_share, self.request_share, *(part.share for part in self.fading))
        for points in parts:
            positions = [position for position, _ in points]
            if any(later <= earlier for earlier, later in pairwise(positions)):
                raise ValueError(f"positions of a share must rise strictly, got {positions}")
        # Shares are straight between points, so their sum is largest at one of them.
        positions = sorted({position for points in parts for position, _ in points})
        total = np.sum([np.interp(positions, *np.array(points).T) for points in parts], axis=0)
        if total.max() > 1.0 + SUM_TOLERANCE:
            raise ValueError(
                f"shares must sum to at most 1 at every position, got {total.max():.3f}"
            )
        return self


class PredictionAccuracy(FilePart):
    """Share of the experts selected in each MoE layer that a predictor names ``distance`` layers
    before; null where it names none.
    """

    distance: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    by_layer: tuple[Share | None, ...]
    kind: Kind
    source: SourceText
    date: SourceDate


class RoutingSpec(FilePart):
    """Statistics as a YAML file states them.

    ``first_choice_repeat`` is the published share of tokens whose first choice is the token
    before's, at positions in depth from 0 (first MoE layer) to 1 (last); ``popularity`` is [MoE
    layer, expert]. ``generator`` stands instead of both, fitted to a trace of ``task``; or
    ``latent``, from published statistics that say how choices persist.
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
    generator: GeneratorSpec | None = None
    latent: LatentSpec | None = None

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
        if self.generator is not None and len(self.generator.inclusion[0][0]) != self.num_experts:
            raise ValueError(
                f"generator: inclusion has {len(self.generator.inclusion[0][0])} experts, num_experts is {self.num_experts}"
            )
        return self

    def routing(self) -> Routing:
        """The generator: as fitted; or one where a fraction k of choices is kept so that k + (1 -
        k) · chance is the published repeat.

        Chance is the sum of the squared shares of a layer: 1 / experts where the popularity is
        uniform.
        """
        provenance = Provenance(kind=self.kind, source=self.source, date=self.date)
        accuracy = tuple((entry.distance, entry.by_layer) for entry in self.prediction_accuracy)
        if self.generator is not None:
            return _fitted(self.generator, self.name, provenance, accuracy)
        if self.latent is not None:
            return _latent(self.latent, self.num_experts, self.name, provenance, accuracy)
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
        """(position, published repeat, repeat by chance): as stated, or at every layer where
        popularity makes chance differ.
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


def _latent(
    spec: LatentSpec, num_experts: int, label: str, provenance: Provenance, accuracy: Accuracy
) -> LatentRouting:
    return LatentRouting(
        label=label,
        stated_provenance=provenance,
        num_experts=num_experts,
        score_spread=spec.score_spread,
        popularity_share=spec.popularity_share,
        request_share=spec.request_share,
        fading=spec.fading,
        skew=spec.skew,
        accuracy=accuracy,
    )


def _fitted(
    spec: GeneratorSpec, label: str, provenance: Provenance, accuracy: Accuracy
) -> FittedRouting:
    gate = spec.gate
    return FittedRouting(
        label=label,
        stated_provenance=provenance,
        top_k=spec.top_k,
        # Brought to sum to 1 again after the file's rounding: numpy's choice asks for it exactly.
        class_share=np.array(spec.class_share) / sum(spec.class_share),
        inclusion=np.array(spec.inclusion),
        class_lags=np.arange(1, len(spec.class_kept) + 1),
        class_kept=np.array(spec.class_kept),
        class_chain=np.array(spec.class_chain) / np.sum(spec.class_chain, axis=1, keepdims=True),
        copy_lags=np.arange(1, len(spec.copy_kernel) + 1),
        copy_kernel=np.array(spec.copy_kernel) / sum(spec.copy_kernel),
        copied=np.array(spec.copied),
        request_spread=np.array(spec.request_spread),
        drift_spread=np.array(spec.drift_spread),
        drift_tokens=spec.drift_tokens,
        linked_fraction=spec.linked_fraction,
        gate=GateProfile(
            log_mean=np.array(gate.log_mean),
            log_spread=np.array(gate.log_spread),
            correlation=gate.correlation,
        )
        if gate
        else None,
        accuracy=accuracy,
    )


def fitted_spec(
    routing: FittedRouting, *, task: str, sequence_num_tokens: tuple[int, ...], num_digits: int = 5
) -> RoutingSpec:
    """The file of a fitted generator, its numbers rounded; ``sequence_num_tokens`` are the lengths
    of the sequences it was fitted to.
    """

    def _rounded(array: np.ndarray) -> list:  # type: ignore[type-arg]
        return list(np.round(array, num_digits).tolist())

    gate = routing.gate
    provenance = routing.stated_provenance
    generator = {
        "top_k": routing.top_k,
        **{
            name: _rounded(getattr(routing, name))
            for name in ("class_share", "class_chain", "class_kept", "copy_kernel", "copied")
        },
        "request_spread": _rounded(routing.request_spread),
        "drift_spread": _rounded(routing.drift_spread),
        "drift_tokens": routing.drift_tokens,
        "linked_fraction": round(routing.linked_fraction, num_digits),
        "gate": {
            "log_mean": _rounded(gate.log_mean),
            "log_spread": _rounded(gate.log_spread),
            "correlation": round(gate.correlation, num_digits),
        }
        if gate
        else None,
        "sequence_num_tokens": sequence_num_tokens,
        "inclusion": _rounded(routing.inclusion),
    }
    return RoutingSpec(
        format=FORMAT,
        name=routing.label,
        num_experts=routing.inclusion.shape[2],
        task=task,
        kind=provenance.kind,
        source=provenance.source,
        date=provenance.date,
        generator=GeneratorSpec.model_validate(generator),
    )
