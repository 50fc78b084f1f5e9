"""Compiled search for the past request that is most like the current one, gate by gate."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, kernel


class PastRequests(NamedTuple):
    """Past requests: their tokens ``counts`` [layer, expert, request].

    ``lengths`` [layer, request] are the Euclidean lengths of these counts.
    """

    counts: NDArray[np.int64]
    lengths: NDArray[np.float64]


class SoFar(NamedTuple):
    """The current request, compared with past requests.

    ``counts`` [layer, expert] are its tokens so far, ``squares`` [layer] their squared lengths.
    ``products`` and ``cosines`` [layer, request] are those with past requests. All but the cosines
    are whole numbers, so they are the same wherever a run is cut, and on any machine.
    """

    counts: NDArray[np.int64]
    squares: NDArray[np.int64]
    products: NDArray[np.int64]
    cosines: NDArray[np.float64]


class Matched(NamedTuple):
    """The nearest past request at each moment.

    ``before`` [pass] is the nearest before the pass begins, ``during`` [pass, layer] the nearest
    once the layer's gate is known. ``likeness`` [layer + 1, request] is working room.
    """

    before: NDArray[np.int64]
    during: NDArray[np.int64]
    likeness: NDArray[np.float64]


@inner
def _first_of_most(likeness: NDArray[np.float64]) -> int:
    """Return the place of the largest number; on a tie, the first."""
    nearest = 0
    for place in range(1, len(likeness)):
        if likeness[place] > likeness[nearest]:
            nearest = place
    return nearest


@inner
def _count(row: NDArray[np.int32], past: PastRequests, own: SoFar, layer: int) -> None:
    """Add the tokens [expert] of a layer to the current request."""
    counts = own.counts[layer]
    products = own.products[layer]
    for expert in range(len(row)):
        fed = np.int64(row[expert])
        if fed > 0:
            own.squares[layer] += fed * (2 * counts[expert] + fed)
            counts[expert] += fed
            theirs = past.counts[layer, expert]
            for request in range(len(products)):
                products[request] += fed * theirs[request]


@kernel
def match(tokens: NDArray[np.int32], past: PastRequests, own: SoFar, found: Matched) -> None:
    """Match passes, one after another, with past requests.

    ``tokens`` [pass, layer, expert] are those of the passes' gates. ``own`` is the request before
    these passes, and is updated. A layer of a pass counts as soon as its gate is known. The layers
    after it count as the pass before left them. Ties go to the earlier request.
    """
    num_layers = tokens.shape[1]
    num_requests = past.lengths.shape[1]
    to_come = found.likeness
    so_far = found.likeness[num_layers]
    for index in range(len(tokens)):
        # Row l holds what the layers from l on add up to, as the pass before left them.
        for behind in range(num_layers):
            layer = num_layers - 1 - behind
            for request in range(num_requests):
                later = to_come[layer + 1, request] if behind else 0.0
                to_come[layer, request] = later + own.cosines[layer, request]
        found.before[index] = _first_of_most(to_come[0])

        for request in range(num_requests):
            so_far[request] = 0.0
        for layer in range(num_layers):
            _count(tokens[index, layer], past, own, layer)
            products = own.products[layer]
            length = np.sqrt(np.float64(own.squares[layer]))
            nearest = 0
            most = -1.0
            for request in range(num_requests):
                both = length * past.lengths[layer, request]
                cosine = products[request] / both if both > 0 else 0.0
                own.cosines[layer, request] = cosine
                so_far[request] += cosine
                total = so_far[request]
                if layer + 1 < num_layers:
                    total += to_come[layer + 1, request]
                if total > most:
                    most = total
                    nearest = request
            found.during[index, layer] = nearest
