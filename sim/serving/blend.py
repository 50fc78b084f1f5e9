"""Reuse of KV that is no prefix: all of it is loaded, and part of it computed anew (CacheBlend, in
LMCache, arXiv 2510.09665).
"""

from math import ceil
from typing import Annotated

from pydantic import Field

from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_LAYERS


class Blend(FilePart):
    """Check layers compute every token; the others, of what was found, ``recompute_fraction``.

    Either goes on beside the layer's copies.
    """

    recompute_fraction: Annotated[float, Field(ge=0, le=1)] = 0.15
    num_check_layers: Annotated[int, Field(ge=0, le=MAX_LAYERS, strict=True)] = 1

    def computed_tokens(self, num_tokens: int, num_found: int) -> int:
        """How many of that many tokens a layer computes that is no check layer."""
        # CacheBlend picks whole tokens to compute anew; rounded up, so that a small share of few
        # tokens is not free.
        return num_tokens - num_found + ceil(self.recompute_fraction * num_found)

    def duration(self, load: int, full: int, mended: int, num_layers: int) -> int:
        """Return the time of all layers. A check layer takes the longer of loading and computing in
        full, any other the longer of loading and mending.
        """
        # Check layers find out which tokens differ most, so they compute all of them.
        checks = min(self.num_check_layers, num_layers)
        return (checks * max(load, full) + (num_layers - checks) * max(load, mended)) // num_layers
