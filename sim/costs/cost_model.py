"""What an operation costs on a machine: by a measured curve where there is one, else by a roofline
with overhead.

There are curves of experts, dense feed-forwards, the vocabulary projection, gates, attention and
copies. ``sim.costs.curve_shapes`` says for which shapes, and ``sim.costs.roofline`` what is charged
without one. Outside a curve's measured range its nearest end is scaled by the ratio of rooflines,
and the price says that it is extrapolated.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwprofiles import Curve, Direction, Operation
from sim.costs.attention_price import AttentionWork, from_curves
from sim.costs.copy_price import copied
from sim.costs.curve_shapes import (
    attention_curves,
    expert_shape,
    ffn_shape,
    find_curve,
    gate_shape,
    head_shape,
)
from sim.costs.grouped_curves import from_grouped_curve, grouped_curve
from sim.costs.price import Price, Sizes, attention_price, grouped_price, price_of
from sim.costs.roofline import FLOPS_PER_STATE_ELEMENT, FLOPS_PER_WEIGHT, Device, Roofline
from sim.memo import Memo
from sim.model.model import Model, TensorClass

Way = Literal["h2d", "d2h"]
Priced = TypeVar("Priced")

MOST_KEPT = 1000
"""Most prices that a cost model keeps. A plan asks for some dozens of prices; served requests ask
for new ones all the time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainProduct:
    """A product of activations with the weights of one kind.

    ``num_bytes`` and ``params`` are those of the weights. ``kernels`` is a key of FUSED_KERNELS,
    ``dtype`` the format of the weights, and ``curve`` the measured curve that prices the product,
    if there is one.
    """

    num_bytes: float
    params: int
    kernels: str
    dtype: str
    curve: Curve | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel(Roofline):
    """Prices of a model's operations on a machine. Token counts and contexts may be arrays; prices
    have their shape.

    What is asked for with ``once`` is kept while the cost model lives and has room. Runs that share
    a cost model share those prices.
    """

    model: Model
    _kept: Memo = field(
        default_factory=lambda: Memo(MOST_KEPT), init=False, repr=False, compare=False
    )

    def once(self, key: tuple[object, ...], priced: Callable[[], Priced]) -> Priced:
        """Return what ``priced`` gives, computed when first asked for with that key. The key says
        all that it depends on besides these costs.

        Nobody may change what is returned.
        """
        return self._kept.get(key, priced)

    def at(self, layer: int) -> "CostModel":
        """Return the prices on the GPU that the layer lies on: these, unless layers lie on unlike
        GPUs.
        """
        return self

    def expert(self, device: Device, layer: int, tokens: ArrayLike) -> Price:
        """Return the price of one routed expert of the layer over that many tokens."""
        model = self.model
        spec = self.model.layers[layer]
        dtype = model.dtype(TensorClass.EXPERT)
        params = spec.params[TensorClass.EXPERT]
        own = model.hidden, model.expert_intermediate
        counts = np.asarray(tokens, np.float64)
        rates = self.rates(device, dtype)

        def law(hidden: int, intermediate: int, count: Sizes) -> Sizes:
            """Return the ns of that many tokens over an expert of that shape, its weights stored as
            in this layer.
            """
            weights = params if (hidden, intermediate) == own else 3 * hidden * intermediate
            num_bytes = spec.expert_bytes * weights / params
            activations = 2 * (hidden + 2 * intermediate) * model.activation_bytes
            read = self.as_read(device, num_bytes, weights, dtype) + count * activations
            return self.roofline_ns(
                device, read, FLOPS_PER_WEIGHT * weights * count, "expert", dtype
            )

        if self.is_in_group and device == "gpu":
            grouped = grouped_curve(self.machine, dtype, *own)
            if grouped is not None:
                return grouped_price(from_grouped_curve(grouped, *own, counts, law), rates)
        return price_of(self.expert_curve(device), counts, lambda count: law(*own, count), rates)

    def run_as(self, *, is_fused: bool, captures_graphs: bool) -> "CostModel":
        """Prices of the same operations with the GPU's kernels run that way."""
        # Itself, so that what it keeps is shared.
        if (is_fused, captures_graphs) == (self.is_fused, self.captures_graphs):
            return self
        key = ("run as", is_fused, captures_graphs)
        return self.once(
            key, lambda: replace(self, is_fused=is_fused, captures_graphs=captures_graphs)
        )

    def in_groups(self) -> "CostModel":
        """Return the prices of experts that run together in one call, without the call's kernels or
        hand-over. Measured curves stay as measured.
        """
        return self.once(("in groups",), lambda: replace(self, is_in_group=True))

    def group_overhead_ns(self, device: Device) -> int:
        """Return the ns that one call for the experts of a layer takes beside their work: the GPU's
        kernels, or the hand-over to the CPU pool.
        """
        if device == "cpu":
            return round(self.machine.cpu.call_overhead_ns.effective)
        return round(self.kernels_ns("expert"))

    def group_least_ns(self) -> int:
        """Return the least ns that one call for the experts of a layer lasts on the GPU: its
        launches, where no graph is replayed.
        """
        return round(self.launches_ns("expert"))

    def expert_curve(self, device: Device) -> Curve | None:
        """The measured curve that prices this model's experts on a device, if the machine has one."""
        return find_curve(
            self.machine,
            Operation.EXPERT,
            device,
            self.model.dtype(TensorClass.EXPERT),
            expert_shape(self.model),
        )

    def weights_curve(self, device: Device, layer: int, which: TensorClass) -> Curve | None:
        """The measured curve that prices ``weights``, if the machine has one."""
        is_gate = which is TensorClass.ROUTER
        shape = gate_shape(self.model, layer) if is_gate else ffn_shape(self.model, layer, which)
        return find_curve(
            self.machine,
            Operation.GATE if is_gate else Operation.DENSE,
            device,
            self.model.dtype(which),
            shape,
        )

    def head_curve(self, device: Device) -> Curve | None:
        """The measured curve that prices the vocabulary projection, if the machine has one."""
        return find_curve(
            self.machine,
            Operation.DENSE,
            device,
            self.model.dtype(self.model.head_class),
            head_shape(self.model),
        )

    def attention_curves(self, device: Device, layer: int) -> list[Curve]:
        """The measured curves that price the layer's attention; none where the machine has none."""
        return attention_curves(self.machine, self.model, device, layer)

    def copy_curve(self, way: Way, *, is_pinned: bool) -> Curve | None:
        """The measured curve that prices copies, if the machine has one."""
        return find_curve(
            self.machine, Operation.COPY, way if is_pinned else f"{way}_pageable", None, {}
        )

    def expert_table(self, device: Device, layer: int, max_tokens: int) -> NDArray[np.int64]:
        """Return the prices in ns of one expert over 0, 1, …, max_tokens tokens; no tokens cost 0.

        The table is kept: nobody may change it.
        """

        def priced() -> NDArray[np.int64]:
            """The table, from one price of all numbers of tokens."""
            table = self.expert(device, layer, np.maximum(np.arange(max_tokens + 1), 1)).ns
            # The curve has no price for nothing: it is asked for one token, and that entry set to 0.
            table[0] = 0
            return table

        return self.once(("expert table", device, layer, max_tokens), priced)

    def attention(
        self,
        device: Device,
        layer: int,
        tokens: ArrayLike,
        sequences: ArrayLike,
        first: ArrayLike,
        end: ArrayLike,
    ) -> Price:
        """Return the price of a layer's norm, projections and attention: ``tokens`` over
        ``sequences``, each from position ``first`` to ``end`` (exclusive).

        A state is read and written once a pass, and a recurrent one is updated for every token. A
        layer without attention, a state or weights in their place costs 0.
        """
        count, many, start, stop = np.broadcast_arrays(
            *(np.asarray(value, np.float64) for value in (tokens, sequences, first, end))
        )
        rates = self.rates(device, self.model.dtype(TensorClass.ATTENTION))
        if not self.model.layers[layer].has_mixer:
            return price_of(None, count, np.zeros_like, rates)
        curves = self.attention_curves(device, layer)
        # Without curves the roofline is all there is, and one call of it serves.
        if not curves:
            ns = self._attention_roofline(device, layer, count, many, start, stop)
            return price_of(None, count, lambda _: ns, rates)

        def formula(work: AttentionWork) -> Sizes:
            """ns of that work without a curve."""
            fed = work.sequences * (work.end - work.first)
            return self._attention_roofline(
                device, layer, fed, work.sequences, work.first, work.end
            )

        work = AttentionWork(sequences=many.ravel(), first=start.ravel(), end=stop.ravel())
        return attention_price(from_curves(curves, work, formula), rates, count.shape)

    def attention_core(
        self,
        device: Device,
        layer: int,
        tokens: ArrayLike,
        sequences: ArrayLike,
        first: ArrayLike,
        end: ArrayLike,
    ) -> Price:
        """Return the price of scores and weighted values alone, as where the CPU attends over a KV
        cache in host memory.

        The cache is read once for all tokens of a sequence.
        """
        spec = self.model.layers[layer]
        dtype = self.model.dtype(TensorClass.ATTENTION)
        count, many, start, stop = (
            np.asarray(value, np.float64) for value in (tokens, sequences, first, end)
        )
        attention = spec.attention
        if attention is None:
            return price_of(None, count, np.zeros_like, self.rates(device, dtype))
        # The cache is read once for all tokens of a sequence.
        num_bytes = many * spec.elements_read(start, stop) * self.model.kv_element_bytes
        num_bytes += (
            count
            * (attention.score_elements + attention.value_elements)
            * self.model.activation_bytes
        )
        flops = FLOPS_PER_WEIGHT * count * spec.pair_elements_per_token(start, stop)
        ns = self.roofline_ns(device, num_bytes, flops, "attention_core", dtype)
        return price_of(None, count, lambda _: ns, self.rates(device, dtype))

    def projection(self, layer: int, tokens: ArrayLike, *, is_output: bool) -> Price:
        """Return the price on the GPU of the products before the attention core (norm, queries,
        keys, values) or behind it (the output).
        """
        spec = self.model.layers[layer]
        dtype = self.model.dtype(TensorClass.ATTENTION)
        if not spec.has_mixer:
            return price_of(
                None, np.asarray(tokens, np.float64), np.zeros_like, self.rates("gpu", dtype)
            )
        output = output_params(self.model, layer)
        mixing = spec.params.get(TensorClass.ATTENTION, 0)
        params = output if is_output else mixing - output + spec.params.get(TensorClass.NORM, 0)
        share = output / max(1, mixing)
        num_bytes = spec.bytes.get(TensorClass.ATTENTION, 0) * (share if is_output else 1 - share)
        # The norm belongs to what comes before the attention.
        num_bytes += 0 if is_output else spec.bytes.get(TensorClass.NORM, 0)
        kernels = "attention_output" if is_output else "attention_input"
        product = PlainProduct(
            num_bytes=num_bytes, params=params, kernels=kernels, dtype=dtype, curve=None
        )
        return self._product("gpu", product, tokens)

    def weights(self, device: Device, layer: int, which: TensorClass, tokens: ArrayLike) -> Price:
        """Return the price of a plain product with the weights of one class of a layer: ROUTER,
        DENSE_FFN or SHARED_EXPERT.
        """
        spec = self.model.layers[layer]
        kernels = {
            TensorClass.ROUTER: "gate",
            TensorClass.DENSE_FFN: "dense_ffn",
            TensorClass.SHARED_EXPERT: "shared_expert",
        }[which]
        product = PlainProduct(
            num_bytes=spec.bytes.get(which, 0),
            params=spec.params.get(which, 0),
            kernels=kernels,
            dtype=self.model.dtype(which),
            curve=self.weights_curve(device, layer, which),
        )
        return self._product(device, product, tokens)

    def head(self, device: Device, tokens: ArrayLike) -> Price:
        """Return the price of the final norm and the vocabulary projection for that many
        positions.
        """
        model = self.model
        which = model.head_class
        product = PlainProduct(
            num_bytes=model.top_bytes.get(which, 0),
            params=model.top_params.get(which, 0),
            kernels="head",
            dtype=model.dtype(which),
            curve=self.head_curve(device),
        )
        return self._product(device, product, tokens)

    def copy(self, way: Way, num_bytes: ArrayLike, *, is_pinned: bool) -> Price:
        """Return the price of a copy of ``num_bytes`` between host and GPU."""
        curve = self.copy_curve(way, is_pinned=is_pinned)
        direction: Direction = getattr(self.machine.link, way)
        return copied(direction, curve, num_bytes, is_pinned=is_pinned)

    def copy_hidden(self, way: Way, num_bytes: ArrayLike, *, is_pinned: bool) -> Price:
        """Return the price of a copy of hidden states, of ``num_bytes``, between host and GPU."""
        return self.copy(way, num_bytes, is_pinned=is_pinned)

    def copy_across(self, num_bytes: ArrayLike) -> Price | None:
        """Return the price of a copy from one GPU to another; None where it goes by way of the
        host.
        """
        direction = self.machine.gpu_link
        return None if direction is None else copied(direction, None, num_bytes, is_pinned=True)

    def layer_overhead_ns(self) -> int:
        """Return the host's ns per layer that nothing hides."""
        return round(self.machine.host.layer_overhead_ns.effective)

    def step_overhead_ns(self) -> int:
        """Return the host's ns per forward pass that nothing hides."""
        return round(self.machine.host.step_overhead_ns.effective)

    def _product(self, device: Device, product: PlainProduct, tokens: ArrayLike) -> Price:
        def roofline(count: Sizes) -> Sizes:
            """ns over that many tokens without a curve."""
            # Read and written once each.
            activations = 2 * count * self.model.hidden * self.model.activation_bytes
            weights = self.as_read(device, product.num_bytes, product.params, product.dtype)
            read = weights + activations
            flops = FLOPS_PER_WEIGHT * product.params * count
            return self.roofline_ns(device, read, flops, product.kernels, product.dtype)

        sizes = np.asarray(tokens, np.float64)
        return price_of(product.curve, sizes, roofline, self.rates(device, product.dtype))

    def _attention_roofline(
        self, device: Device, layer: int, count: Sizes, many: Sizes, start: Sizes, stop: Sizes
    ) -> Sizes:
        spec = self.model.layers[layer]
        dtype = self.model.dtype(TensorClass.ATTENTION)
        params = spec.params.get(TensorClass.ATTENTION, 0) + spec.params.get(TensorClass.NORM, 0)
        weight_bytes = spec.bytes.get(TensorClass.ATTENTION, 0) + spec.bytes.get(
            TensorClass.NORM, 0
        )
        num_bytes = self.as_read(device, weight_bytes, params, dtype)
        kv_bytes = many * (
            spec.elements_read(start, stop) * self.model.kv_element_bytes + 2 * spec.state_bytes
        )
        flops = FLOPS_PER_WEIGHT * count * (params + spec.pair_elements_per_token(start, stop))
        flops += FLOPS_PER_STATE_ELEMENT * count * spec.state_elements
        activations = 4 * count * self.model.hidden * self.model.activation_bytes
        return self.roofline_ns(
            device, num_bytes + kv_bytes + activations, flops, "attention", dtype
        )


def output_params(model: Model, layer: int) -> int:
    """Return the number of weights of an attention's output product. Assumed: those of a plain
    product, but at most half of the attention's, as MLA keeps it in other shapes.
    """
    spec = model.layers[layer]
    mixing = spec.params.get(TensorClass.ATTENTION, 0)
    return (
        mixing // 2
        if spec.attention is None
        else min(model.hidden * spec.attention.value_elements, mixing // 2)
    )
