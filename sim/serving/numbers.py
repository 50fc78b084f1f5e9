"""Types of the numbers that a serving file states, with their bounds."""

from typing import Annotated

from pydantic import Field

from hwprofiles.limits import MAX_DURATION_NS, MAX_QUANTITY, MAX_SEQUENCES, MIN_RATE
from hwprofiles.quantity import Number

Above = Annotated[Number, Field(ge=MIN_RATE, le=MAX_QUANTITY)]
"""A number that is not near zero: rates divide, and a rate near zero would make times without
end.
"""
Latency = Annotated[Number, Field(ge=0, le=MAX_DURATION_NS)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Sequences = Annotated[int, Field(ge=1, le=MAX_SEQUENCES, strict=True)]
