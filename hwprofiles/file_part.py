"""Base class and decorator for the objects that mappings in files become."""

from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

T = TypeVar("T")


class FilePart(BaseModel):
    """Base class of a mapping in a file: frozen, without unknown keys, with finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def file_part(cls: type[T]) -> type[T]:
    """Make the class a pydantic dataclass with the rules of FilePart.

    ``dataclasses.replace`` then checks the object that it makes.
    """
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    made: Any = dataclass(cls, frozen=True, slots=True, kw_only=True, config=config)
    return cast(type[T], made)
