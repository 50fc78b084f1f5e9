"""Quantities of one meaning: rates, shares and times, with what holds for each."""

from typing import Annotated

from pydantic import AfterValidator, Field

from hwprofiles.formats import COMPUTE_TYPES, check_words
from hwprofiles.limits import MAX_DEVICES, MAX_DURATION_NS, MIN_RATE
from hwprofiles.quantity import Quantity


def above_zero(quantity: Quantity) -> Quantity:
    """Raises ValueError for a rate that nothing can be divided by."""
    # Zero has words of its own: beside the limit below it would look like a matter of degree.
    if quantity.value == 0:
        raise ValueError("a rate must be greater than 0, got 0")
    if quantity.effective < MIN_RATE:
        raise ValueError(f"a rate must be at least {MIN_RATE:g}, got {quantity.effective:g}")
    return quantity


Count = Annotated[int, Field(ge=1, le=MAX_DEVICES)]
Rate = Annotated[Quantity, AfterValidator(above_zero)]
"""A quantity that something is divided by: never zero."""


def _at_most_one(quantity: Quantity) -> Quantity:
    # The effective value, since that is what is multiplied with.
    if quantity.effective > 1:
        raise ValueError(f"a share must be at most 1, got {quantity.effective:g}")
    return quantity


Share = Annotated[Quantity, AfterValidator(_at_most_one)]
"""A quantity from 0 to 1."""


def _of_known_types(rates: dict[str, Quantity]) -> dict[str, Quantity]:
    check_words("compute type", set(rates), COMPUTE_TYPES)
    return rates


def _in_time(quantity: Quantity) -> Quantity:
    if quantity.effective > MAX_DURATION_NS:
        raise ValueError(
            f"a time must be at most {MAX_DURATION_NS:g} ns (11 days), got {quantity.effective:g}"
        )
    return quantity


Duration = Annotated[Quantity, AfterValidator(_in_time)]
"""A time that one operation takes."""
RatesByType = Annotated[dict[str, Rate], Field(min_length=1), AfterValidator(_of_known_types)]
"""A rate of arithmetic for each type of numbers that is multiplied."""
