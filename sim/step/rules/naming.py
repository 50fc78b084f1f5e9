"""Compiled functions that say what a predictor of stated accuracy names."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel


class Listed(NamedTuple):
    """The ``experts`` that tokens select, one layer after another.

    Those of a layer begin at ``first`` [pass · layers + layer].
    """

    first: NDArray[np.int64]
    experts: NDArray[np.int64]


class Guesses(NamedTuple):
    """What a predictor draws and knows.

    ``chance`` and ``weight`` [pass, layer, expert] are drawn; they have no rows for the first
    layers. ``accuracy`` [layer] is how often the predictor is right. ``popularity`` is [layer,
    expert]. Weights are the bits of numbers of at least 0, which have the order of the numbers.
    Processors find the largest of integers many at a time.
    """

    chance: NDArray[np.float64]
    weight: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    popularity: NDArray[np.float64]


@kernel
def list_selected(tokens: NDArray[np.int32], listed: Listed) -> None:
    """Fill ``listed`` with the experts that ``tokens`` [pass, layer, expert] select."""
    first = listed.first
    experts = listed.experts
    count = 0
    for index in range(tokens.shape[0]):
        for layer in range(tokens.shape[1]):
            first[index * tokens.shape[1] + layer] = count
            for expert in range(tokens.shape[2]):
                # Kept only where it is selected: whether it is, no processor can guess.
                experts[count] = expert
                count += tokens[index, layer, expert] > 0
    first[tokens.shape[0] * tokens.shape[1]] = count


@kernel
def expect(
    tokens: NDArray[np.int32],
    listed: Listed,
    is_apart: NDArray[np.bool_],
    guesses: Guesses,
    expected: NDArray[np.int32],
) -> None:
    """Fill ``expected`` [pass, layer, expert] with the tokens that a predictor expects.

    A selected expert is expected with its tokens if its chance is below its layer's accuracy. For
    each selected expert that is missed, one unselected expert is expected with one token. It is the
    one of the largest weight that is left; ties go to the lower number. An expert of popularity 0,
    which is never selected, takes a place but gets no token. Passes that are ``is_apart`` [pass]
    and the first layers stay as they are.
    """
    chance = guesses.chance
    weight = guesses.weight
    first = listed.first
    num_passes, num_layers, num_experts = tokens.shape
    step = num_layers - weight.shape[1]
    for index in range(num_passes):
        for layer in range(num_layers if is_apart[index] else step, num_layers):
            left = weight[index, layer - step]
            missed = 0
            row = index * num_layers + layer
            for expert in listed.experts[first[row] : first[row + 1]]:
                left[expert] = -1
                if chance[index, layer - step, expert] < guesses.accuracy[layer]:
                    expected[index, layer, expert] = tokens[index, layer, expert]
                else:
                    missed += 1
            for _ in range(missed):
                most = np.int64(-1)
                for expert in range(num_experts):
                    most = max(most, left[expert])
                if most < 0:
                    break
                best = 0
                while left[best] != most:
                    best += 1
                expected[index, layer, best] = guesses.popularity[layer, best] > 0
                left[best] = -1
