"""What every output of a command is made of."""

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Part of an output: complete, no unknown keys, nothing infinite.

    A command builds the validators of its own documents alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
