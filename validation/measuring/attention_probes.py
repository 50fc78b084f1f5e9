"""Probes of attention: the backend's own function and the norm behind it.

This is what the backend does before a gate.
"""

# TensorLegend: T tokens of a pass, S sequences, C context, D hidden, K key-value heads, H head
# dimension.

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod

from torch import Tensor

from hwprofiles import Operation
from sim.costs.curve_shapes import attention_shape
from sim.model.model import Model, TensorClass
from validation.backend.architecture import Architecture, Shapes
from validation.backend.forward_pass import cache_shape
from validation.backend.functions import CacheSpan, attention, normalized, rotation
from validation.measuring.bench import Work
from validation.measuring.built import built
from validation.measuring.grid import Grid
from validation.measuring.place import Place
from validation.measuring.probe import Probe

EPSILON = 1e-6
ROPE_THETA = 10_000.0
NOT_ATTENTION = ("router", "shared", "dense")
"""Prefixes of the names of a layer's tensors outside its attention and norms."""


def attention_probes(model: Model, layer: int, place: Place, grid: Grid) -> Iterator[Probe]:
    """Yield probes of decoding by context and of prompts by tokens, for each number of sequences.

    Contexts that the model does not allow, and sizes that memory does not, are left out.
    """
    spec = model.layers[layer]
    assert spec.attention is not None, "only attention is probed"
    params = spec.params[TensorClass.ATTENTION]
    element_bytes = place.cold.dtype.itemsize
    own = _Layer(model=model, layer=layer, place=place)
    for sequences in grid.attention_sequences:
        shape = attention_shape(model.hidden, spec.attention, params) | {"sequences": sequences}
        for operation, sizes in (
            (Operation.ATTENTION_DECODE, grid.contexts),
            (Operation.ATTENTION_PREFILL, grid.prompts),
        ):
            for x in sizes:
                fed = sequences * (1 if operation is Operation.ATTENTION_DECODE else x)
                is_large = own.num_elements(
                    sequences, x
                ) * element_bytes > place.cold.num_bytes or fed > max(grid.prompts)
                # What does not fit cold memory would be read from a cache.
                if x > model.max_context_tokens or is_large:
                    continue
                yield Probe(
                    key=place.key(operation, shape),
                    x=x,
                    bench=place.bench,
                    make=own.maker(sequences, x - fed // sequences, x),
                    weight_bytes=params * element_bytes,
                    flops=2.0 * params * fed,
                )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """Attention of one layer in one place."""

    model: Model
    layer: int
    place: Place

    @property
    def architecture(self) -> Architecture:
        """The model as the backend builds it."""
        return built(self.model)

    def num_elements(self, sequences: int, context: int) -> int:
        """Return twice the elements of the larger of weights and KV cache, so that blocks can move
        on.
        """
        spec = self.model.layers[self.layer]
        return 2 * max(spec.params[TensorClass.ATTENTION], spec.kv_elements(context) * sequences)

    def maker(self, sequences: int, first: int, end: int) -> Callable[[], Work]:
        """Return a function that makes runs over positions ``first`` up to ``end``."""
        place = self.place
        architecture = self.architecture
        shape = architecture.layers[self.layer]
        hidden = architecture.hidden
        weights: Shapes = {
            name: sizes
            for name, sizes in architecture.dense_shapes(self.layer).items()
            if not name.startswith(NOT_ATTENTION)
        }
        sizes = cache_shape(shape, sequences, end)

        # Drawn once for all samples: of what is read, only weights and caches have to be cold.
        @cache
        def inputs() -> tuple[Tensor, Tensor]:
            """The hidden state of a pass, and its rotations."""
            turn_2CH = rotation(end, shape.head_dim, ROPE_THETA, place.cold.dtype).to(
                place.cold.device
            )
            return place.draw(sequences * (end - first), hidden), turn_2CH

        def make() -> Work:
            """Make a run of norm, attention and norm of the layer, over its own cold weights and
            cache.
            """
            x_TD, turn_2CH = inputs()
            tensors = place.cold.block(weights).tensors
            cache_2SKCH = place.cold.take(prod(sizes)).view(sizes)

            def work() -> Tensor:
                """One run."""
                span = CacheSpan(cache_2SKCH, first, end)
                y_TD = attention(x_TD, tensors, shape, EPSILON, turn_2CH, span)
                return normalized(y_TD, tensors["post_norm"], EPSILON)

            return work

        return make
