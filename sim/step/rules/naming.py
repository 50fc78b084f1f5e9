"""What a predictor of stated accuracy names, compiled."""

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel


@kernel
def list_selected(
    tokens: NDArray[np.int32], first: NDArray[np.int64], experts: NDArray[np.int64]
) -> None:
    """List the ``experts`` that ``tokens`` [pass, layer, expert] select; those of each layer begin
    at ``first`` [pass · layers + layer].
    """
    count = 0
    for index in range(tokens.shape[0]):
        for layer in range(tokens.shape[1]):
            first[index * tokens.shape[1] + layer] = count
            for expert in range(tokens.shape[2]):
                experts[count] = (
                    expert  # kept only where it is selected: whether it is, no processor can guess
                )
                count += tokens[index, layer, expert] > 0
    first[tokens.shape[0] * tokens.shape[1]] = count


@kernel
def expect(
    tokens: NDArray[np.int32],
    first: NDArray[np.int64],
    experts: NDArray[np.int64],
    is_apart: NDArray[np.bool_],
    chance: NDArray[np.float64],
    weight: NDArray[np.int64],
    accuracy: NDArray[np.float64],
    popularity: NDArray[np.float64],
    expected: NDArray[np.int32],
) -> None:
    """Fill ``expected`` [pass, layer, expert]: a selected expert's tokens where ``chance`` is below
    its layer's accuracy; for each one missed, one token for the unselected expert of the largest
    ``weight`` that is left, ties to the lower number.

    Selected are the ``experts`` from ``first`` on, as in ``list_selected``. ``chance`` and ``weight``
    have no rows for the first layers; weights are the bits of numbers of at least 0, which are in
    the order of the numbers: the largest of integers is found many at a time. An expert that is
    never selected, of no ``popularity`` [layer, expert], takes a place without being named. Passes
    that are ``is_apart`` stay.
    """
    num_passes, num_layers, num_experts = tokens.shape
    step = num_layers - weight.shape[1]
    for index in range(num_passes):
        for layer in range(num_layers if is_apart[index] else step, num_layers):
            left = weight[index, layer - step]
            missed = 0
            row = index * num_layers + layer
            for expert in experts[first[row] : first[row + 1]]:
                left[expert] = -1
                if chance[index, layer - step, expert] < accuracy[layer]:
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
                expected[index, layer, best] = popularity[layer, best] > 0
                left[best] = -1
