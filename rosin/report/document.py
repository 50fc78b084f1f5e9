"""What every output of a command is made of."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Part of an output: complete, no unknown keys, nothing infinite.

    A command builds the validators of its own documents alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def of(cls, source: object, **others: Any) -> Self:
        """Return the document of an object: what it has under the names of the fields, and ``others``
        as they are given.
        """
        same = {name: getattr(source, name) for name in cls.model_fields if name not in others}
        return cls(**same, **others)
