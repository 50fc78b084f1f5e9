"""What a mapping in a file is to the code."""

from pydantic import BaseModel, ConfigDict


class FilePart(BaseModel):
    """A mapping in a file, and the object that the code works with: frozen, each key known, each
    number finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
