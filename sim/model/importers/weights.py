"""The weights of a checkpoint as its modules hold them: a name, a class and a shape each."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sim.model.model import TensorClass, without_zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One tensor: ``rows`` × ``columns``, that is outputs × inputs of a product.

    ``name`` is that of its module, as the checkpoint calls it, from the layer (or the model) on.
    ``is_linear`` marks the matrix of a linear layer, which a quantiser may pack; biases, norms and
    loose parameters stay wide.
    """

    name: str
    tensor_class: TensorClass
    rows: int
    columns: int = 1
    is_linear: bool = True

    @property
    def num_weights(self) -> int:
        """The number of elements of the tensor."""
        return self.rows * self.columns


def linear(
    name: str, tensor_class: TensorClass, columns: int, rows: int, has_bias: bool = False
) -> list[Weight]:
    """Return the weights of a linear layer with ``columns`` inputs and ``rows`` outputs: its
    matrix, and its bias where it has one.
    """
    matrix = Weight(name=name, tensor_class=tensor_class, rows=rows, columns=columns)
    # The bias apart, since quantisers pack the matrix alone.
    return [matrix, *loose(name, tensor_class, rows if has_bias else 0)]


def loose(name: str, tensor_class: TensorClass, count: int) -> list[Weight]:
    """Return ``count`` weights that no quantiser packs; nothing where the count is 0."""
    if not count:
        return []
    return [Weight(name=name, tensor_class=tensor_class, rows=count, is_linear=False)]


def gated_mlp(
    name: str, tensor_class: TensorClass, hidden: int, width: int, has_bias: bool = False
) -> list[Weight]:
    """Return the weights of the three products of a gated feed-forward block."""
    return [
        *linear(f"{name}.gate_proj", tensor_class, hidden, width, has_bias),
        *linear(f"{name}.up_proj", tensor_class, hidden, width, has_bias),
        *linear(f"{name}.down_proj", tensor_class, width, hidden, has_bias),
    ]


def params_of(weights: Iterable[Weight]) -> Mapping[TensorClass, int]:
    """Return how many weights each class has, without classes that have none."""
    counts: Counter[TensorClass] = Counter()
    for weight in weights:
        counts[weight.tensor_class] += weight.num_weights
    return without_zeros(counts)
