"""Measured routing of models, and the locality of streams that follows from it."""

from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hwprofiles import Kind, read_yaml


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredRouting(_Part):
    """The measured routing of a model, and what follows from it.

    ``use_spread`` is the standard deviation of the use of a layer's experts over its mean.
    ``covered`` is the coverage of stretches of 4, 16, 64 and 256 tokens. ``shares`` are the shares
    of a score's variance that follow from both. ``optimum_misses`` are the optimum's, in a stream
    of that locality, at the file's shares of cached experts.
    """

    use_spread: float
    covered: tuple[float, float, float, float]
    shares: tuple[float, float, float, float]
    optimum_misses: tuple[float, ...]


class StreamFile(_Part):
    """The file of measured routing; ``cached`` are shares of a layer's experts."""

    kind: Kind
    date: str
    source: str
    cached: tuple[float, ...]
    models: dict[str, MeasuredRouting]


@cache
def measured_routing() -> StreamFile:
    """The file that ships with Rosin."""
    path = Path(str(resources.files("sim") / "runtimes" / "caching" / "streams.yaml"))
    return StreamFile.model_validate(read_yaml(path, "streams"))
