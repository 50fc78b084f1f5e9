"""The numbers of a fitted generator, as a routing file states them and FittedRouting uses them."""

from typing import Annotated, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, model_validator

from hwprofiles.file_part import file_part
from hwprofiles.limits import MAX_EXPERTS, MAX_QUANTITY, MAX_TOKENS
from sim.routing.latent import SUM_TOLERANCE, Share

Array = NDArray[np.float64]
SHARE_ROUNDING = 1e-9
"""How far above 1 a computed share may be, because of rounding."""


def _table(value: Any) -> Array:
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be numbers, each row as long as the others") from None
    if not np.isfinite(found).all():
        raise ValueError("must be finite numbers")
    return found


def _shares(table: Array) -> Array:
    return _within(table, 1.0, SHARE_ROUNDING)


def _weights(table: Array) -> Array:
    return _within(table, MAX_QUANTITY, 0.0)


def _within(table: Array, most: float, rounding: float) -> Array:
    wrong = table[(table < 0.0) | (table > most + rounding)]
    if wrong.size:
        raise ValueError(f"must be from 0 to {most:g}, got {wrong[0]:g}")
    return table


Table: TypeAlias = Annotated[Array, PlainValidator(_table), PlainSerializer(np.ndarray.tolist)]
"""An array that a file states as lists in lists."""
Shares: TypeAlias = Annotated[Table, AfterValidator(_shares)]
Weights: TypeAlias = Annotated[Table, AfterValidator(_weights)]
TokensOfTrace = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


@file_part
class GateProfile:
    """How gate weights are drawn: their natural logarithms are normal.

    ``log_mean`` and ``log_spread`` are [MoE layer, rank]. Any two ranks have the same
    ``correlation``.
    """

    log_mean: Table
    log_spread: Weights
    correlation: Share


@file_part
class FittedNumbers:
    """The parameters of FittedRouting.

    ``class_share`` [class] is the share of tokens of each class. ``inclusion`` [class, layer,
    expert] is the share of a class's tokens that select an expert. ``class_kept`` [lag - 1] is the
    probability that a token has the class of the token ``lag`` before. Otherwise its class follows
    the last token's class by ``class_chain`` [class before, class].

    ``copied`` [layer] is the probability that a choice copies a random choice of an earlier token.
    How many tokens that one lies before is drawn from ``copy_kernel`` [lag - 1]. The choice is
    drawn after all where the sequence does not reach back so far.

    ``request_spread`` [layer] is the standard deviation of a request's log preferences for experts,
    which last. ``drift_spread`` [layer] is that of log preferences that are added and drawn anew
    every ``drift_tokens`` on average. ``linked_fraction`` is the share of choices that use the same
    random numbers in all layers. ``sequence_num_tokens`` are the lengths of the sequences that the
    numbers were fitted to. It is empty if they were fitted to no trace.
    """

    top_k: Annotated[int, Field(ge=1, le=MAX_EXPERTS)]
    class_share: Shares
    class_chain: Shares
    class_kept: Shares
    copy_kernel: Shares
    copied: Shares
    request_spread: Weights
    drift_spread: Weights
    drift_tokens: Annotated[float, Field(ge=1, le=MAX_QUANTITY)]
    linked_fraction: Share
    gate: GateProfile | None = None
    sequence_num_tokens: tuple[TokensOfTrace, ...] = ()
    inclusion: Shares

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        classes = self.class_share.size
        if not classes or self.inclusion.ndim != 3 or len(self.inclusion) != classes:
            raise ValueError(
                f"inclusion must be [class][MoE layer][expert] for the {classes} classes of class_share, all equally long"
            )
        self._check_shapes()
        sums = [("class_share", self.class_share), ("copy_kernel", self.copy_kernel)]
        for name, row in (*sums, *(("class_chain", row) for row in self.class_chain)):
            if abs(row.sum() - 1.0) > SUM_TOLERANCE:
                raise ValueError(f"{name} must sum to 1, got {row.sum():.3f}")
        if self.class_kept.sum() > 1.0 + SHARE_ROUNDING:
            raise ValueError(f"class_kept must sum to at most 1, got {self.class_kept.sum():.3f}")
        return self

    def _check_shapes(self) -> None:
        classes, layers, _ = self.inclusion.shape
        wanted = {
            "class_share": (classes,),
            "class_chain": (classes, classes),
            "class_kept": (self.class_kept.size,),
            "copy_kernel": (self.copy_kernel.size,),
            "copied": (layers,),
            "request_spread": (layers,),
            "drift_spread": (layers,),
        }
        tables = {name: (getattr(self, name), shape) for name, shape in wanted.items()}
        if self.gate is not None:
            shape = (layers, self.top_k)
            tables |= {
                "gate.log_mean": (self.gate.log_mean, shape),
                "gate.log_spread": (self.gate.log_spread, shape),
            }
        for name, (table, shape) in tables.items():
            if table.shape != shape:
                size = " x ".join(map(str, shape))
                raise ValueError(
                    f"{name} must be {size} numbers, of {classes} classes in {layers} MoE layers, got {table.size}"
                )
