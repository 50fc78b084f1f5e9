"""Reuse of KV that is no prefix: all of it is loaded, and part of it computed anew (CacheBlend, in
LMCache, arXiv 2510.09665).
"""

from math import ceil
from typing import Annotated

from pydantic import Field

from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_LAYERS


class Blend(FilePart):
    """The rules by which CacheBlend reuses KV.

    ``num_check_layers`` layers compute every token. The other layers compute ``recompute_fraction``
    of the tokens whose KV was found. Either kind computes while the KV of its layer is copied.
    """

    recompute_fraction: Annotated[float, Field(ge=0, le=1)] = 0.15
    num_check_layers: Annotated[int, Field(ge=0, le=MAX_LAYERS, strict=True)] = 1

    def computed_tokens(self, num_tokens: int, num_found: int) -> int:
        """Return how many of ``num_tokens`` tokens, of which ``num_found`` have KV, a layer
        computes that is no check layer.
        """
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
