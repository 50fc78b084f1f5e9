"""Types of quantities (rates, shares, durations), each with the limits that its values keep."""

from typing import Annotated

from pydantic import AfterValidator, Field

from hwprofiles.formats import COMPUTE_TYPES, check_words
from hwprofiles.limits import MAX_DEVICES, MAX_DURATION_NS, MIN_RATE
from hwprofiles.quantity import Quantity


def above_zero(quantity: Quantity) -> Quantity:
    """Return the rate. Raises ValueError where its effective value is below MIN_RATE."""
    # Zero has words of its own: beside the limit below it would look like a matter of degree.
    if quantity.value == 0:
        raise ValueError("a rate must be greater than 0, got 0")
    if quantity.effective < MIN_RATE:
        raise ValueError(f"a rate must be at least {MIN_RATE:g}, got {quantity.effective:g}")
    return quantity


Count = Annotated[int, Field(ge=1, le=MAX_DEVICES)]
Rate = Annotated[Quantity, AfterValidator(above_zero)]
"""A quantity that may divide another: its effective value is at least MIN_RATE."""


def _at_most_one(quantity: Quantity) -> Quantity:
    # The effective value, since that is what is multiplied with.
    if quantity.effective > 1:
        raise ValueError(f"a share must be at most 1, got {quantity.effective:g}")
    return quantity


Share = Annotated[Quantity, AfterValidator(_at_most_one)]
"""A quantity whose effective value is from 0 to 1."""


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
"""The time of one operation in ns, at most MAX_DURATION_NS."""
RatesByType = Annotated[dict[str, Rate], Field(min_length=1), AfterValidator(_of_known_types)]
"""Operations a second by compute type, such as ``bf16``; at least one type."""
