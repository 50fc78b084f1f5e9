"""Which past request is most like the one at hand, gate by gate: compiled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, kernel


class PastRequests(NamedTuple):
    """The ``counts`` [layer, expert, request] of past requests, and the ``lengths`` [layer, request]
    of these rows.
    """

    counts: NDArray[np.int64]
    lengths: NDArray[np.float64]


class SoFar(NamedTuple):
    """The request at hand: its ``counts`` [layer, expert], the ``squares`` [layer] of their lengths,
    their ``products`` [layer, request] with past requests, and the ``cosines`` [layer, request].

    All but the cosines are whole numbers, so that they are the same wherever a run is cut, and on
    any machine.
    """

    counts: NDArray[np.int64]
    squares: NDArray[np.int64]
    products: NDArray[np.int64]
    cosines: NDArray[np.float64]


class Matched(NamedTuple):
    """The nearest past request ``before`` [pass] each pass begins, and ``during`` it [pass, layer],
    once each layer's gate is known; ``likeness`` [layer + 1, request] is working room.
    """

    before: NDArray[np.int64]
    during: NDArray[np.int64]
    likeness: NDArray[np.float64]


@inner
def _first_of_most(likeness: NDArray[np.float64]) -> int:
    """The place of the largest number, the first of several."""
    nearest = 0
    for place in range(1, len(likeness)):
        if likeness[place] > likeness[nearest]:
            nearest = place
    return nearest


@inner
def _count(row: NDArray[np.int32], past: PastRequests, own: SoFar, layer: int) -> None:
    """Take the tokens [expert] of a layer into the request at hand."""
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
    """Match passes one after another with past requests, given the ``tokens`` [pass, layer, expert]
    of their gates; ``own`` is what it was before them, and then what it has come to.

    A layer of a pass counts as soon as its gate is known; the layers behind it, as the pass before
    left them. Ties go to the earlier request.
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
