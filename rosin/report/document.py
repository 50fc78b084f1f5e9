"""The base class of every document that a command writes."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A part of an output: all keys present, no unknown keys, no infinite numbers.

    Pydantic builds a document's validator at its first use, so a command builds only its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def of(cls, source: object, **others: Any) -> Self:
        """Return a document with the attributes of an object.

        Each field takes the attribute of its name, unless ``others`` gives the field a value.
        """
        same = {name: getattr(source, name) for name in cls.model_fields if name not in others}
        return cls(**same, **others)
