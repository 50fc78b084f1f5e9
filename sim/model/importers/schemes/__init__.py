"""Quantisation schemes by their public names, and the bytes of a decoder's weights in each."""

from sim.model.importers.schemes.names import find_scheme, nearest_scheme, scheme_named
from sim.model.importers.schemes.reduced import reduced
from sim.model.importers.schemes.scheme import Scheme
from sim.model.importers.schemes.sizes import sizes_by_layer

__all__ = ["Scheme", "find_scheme", "nearest_scheme", "reduced", "scheme_named", "sizes_by_layer"]
