"""What a mapping in a file is to the code."""

from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

T = TypeVar("T")


class FilePart(BaseModel):
    """A mapping in a file, and the object that the code works with: frozen, each key known, each
    number finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def file_part(cls: type[T]) -> type[T]:
    """Make a FilePart that is a dataclass, so that ``dataclasses.replace`` checks what it makes."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    made: Any = dataclass(cls, frozen=True, slots=True, kw_only=True, config=config)
    return cast(type[T], made)
