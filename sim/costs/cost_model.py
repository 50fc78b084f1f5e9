"""What an operation costs on a machine: a measured curve where there is one, else a roofline with
overhead.

There are curves of experts, dense feed-forwards, the vocabulary projection, gates, attention and
copies: ``sim.costs.curve_shapes`` says of which shapes. Roofline on the CPU: the longer of bytes /
memory rate and FLOPs / compute rate, and a call. On the GPU the longer one hides most of the
shorter (``serial_fraction`` says what shows), and each kernel adds ``kernel_ns``; where kernels are
launched one by one rather than replayed as a captured graph, the launches run ahead of the stream
and show only when they are the longer. Outside a curve's measured range its nearest end is scaled
by the ratio of rooflines, and the price says that it is extrapolated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwprofiles import (
    Curve,
    Direction,
    InputError,
    Machine,
    Operation,
    Provenance,
    Quantity,
    weakest,
)
from hwprofiles.units import NS_PER_S
from sim.costs.attention_price import AttentionWork, FromCurves, from_curves
from sim.costs.curve_shapes import (
    attention_curves,
    expert_shape,
    ffn_shape,
    find_curve,
    gate_shape,
    head_shape,
)
from sim.costs.grouped_curves import FromGroups, from_grouped_curve, grouped_curve
from sim.model.model import Model, TensorClass

Device = Literal["gpu", "cpu"]
Way = Literal["h2d", "d2h"]
Sizes = NDArray[np.float64]
Priced = TypeVar("Priced")

EAGER_KERNELS: Mapping[str, int] = {
    **{"attention": 10, "gate": 4, "dense_ffn": 4, "shared_expert": 5, "expert": 5, "head": 2},
    **{"attention_input": 6, "attention_core": 2, "attention_output": 2},
}
"""GPU kernels an unfused decoder launches per operation: assumed, counted from the eager Mixtral
block of transformers.
"""

FUSED_KERNELS: Mapping[str, int] = {
    **{"attention": 7, "gate": 2, "dense_ffn": 4, "shared_expert": 3, "expert": 7, "head": 2},
    **{"attention_input": 4, "attention_core": 2, "attention_output": 1},
}
"""GPU kernels of a decoder with fused kernels, "expert" those of one call for all experts of a
layer.

Assumed, counted from vLLM 0.24: norm, one product for queries, keys and values, their norms and
rotation, the cache's write, attention and its reduction, the output · norm, router · norm, up and
gate together, activation, down · of shared experts the last three · of experts top-k, sorting by
expert (2), the three of a feed-forward, the weighted sum.
"""

MOST_KEPT = 1000
"""Prices that a model of costs keeps before it forgets them all. A plan asks for some dozens of
prices; served requests ask for new ones all the time.
"""

FLOPS_PER_WEIGHT = 2
"""A multiply and an add for each weight and token."""

FLOPS_PER_STATE_ELEMENT = 7
"""Of the gated delta rule, for each token: decay 1, what the key recalls 2, its correction 2, what
the query reads 2.

Source: arXiv 2412.06464, section 3.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Durations in ns (int64) with the weakest provenance that went in, and where a curve was left
    behind.
    """

    ns: NDArray[np.int64]
    provenance: Provenance
    is_extrapolated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Prices of a model's operations on a machine. Token counts and contexts may be arrays; prices
    have their shape.

    ``is_fused``: the GPU runs fused kernels, the experts of a layer in one call;
    ``captures_graphs``: they are replayed as a graph, so that launches take no time.
    ``is_in_group``: an expert is priced as part of a call that others share, without what the call
    takes. What is asked for ``once`` is kept for as long as the model of costs lives: runs that
    share one share those prices.
    """

    machine: Machine
    model: Model
    is_fused: bool = False
    captures_graphs: bool = False
    is_in_group: bool = False
    _kept: dict[tuple[object, ...], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def once(self, key: tuple[object, ...], priced: Callable[[], Priced]) -> Priced:
        """What ``priced`` gives, computed when first asked for by that key, which says all that it
        depends on besides these costs.

        Nobody may change it. Threads that ask at the same time may each compute it: they find the
        same.
        """
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = priced()
        return cast(Priced, found)

    def at(self, layer: int) -> "CostModel":
        """Prices on the GPU that the layer lies on: these, unless layers lie on unlike ones."""
        return self

    def expert(self, device: Device, layer: int, tokens: ArrayLike) -> Price:
        """One routed expert of the layer over that many tokens."""
        model = self.model
        spec = self.model.layers[layer]
        dtype = model.dtype(TensorClass.EXPERT)
        params = spec.params[TensorClass.EXPERT]
        own = model.hidden, model.expert_intermediate
        counts = np.asarray(tokens, np.float64)
        rates = self._rates(device, dtype)

        def law(hidden: int, intermediate: int, count: Sizes) -> Sizes:
            """ns for that many tokens of an expert of that shape, its weights stored as here."""
            weights = params if (hidden, intermediate) == own else 3 * hidden * intermediate
            num_bytes = spec.expert_bytes * weights / params
            activations = 2 * (hidden + 2 * intermediate) * model.activation_bytes
            read = self.as_read(device, num_bytes, weights) + count * activations
            return self._roofline(device, read, FLOPS_PER_WEIGHT * weights * count, "expert", dtype)

        if self.is_in_group and device == "gpu":
            grouped = grouped_curve(self.machine, dtype, *own)
            if grouped is not None:
                return _grouped_price(from_grouped_curve(grouped, *own, counts, law), rates)
        return _price(self.expert_curve(device), counts, lambda count: law(*own, count), rates)

    def run_as(self, *, is_fused: bool, captures_graphs: bool) -> "CostModel":
        """Prices of the same operations with the GPU's kernels run that way."""
        if (is_fused, captures_graphs) == (self.is_fused, self.captures_graphs):
            return self
        key = ("run as", is_fused, captures_graphs)
        return self.once(
            key, lambda: replace(self, is_fused=is_fused, captures_graphs=captures_graphs)
        )

    def in_groups(self) -> "CostModel":
        """Prices of experts that run together in one call, whose kernels or hand-over are not
        theirs; measured curves stay as measured.
        """
        return self.once(("in groups",), lambda: replace(self, is_in_group=True))

    def group_overhead_ns(self, device: Device) -> int:
        """What one call for the experts of a layer takes beside their work: the GPU's kernels, or
        the hand-over to the CPU pool.
        """
        if device == "cpu":
            return round(self.machine.cpu.call_overhead_ns.effective)
        return round(self.kernels_ns("expert"))

    def group_least_ns(self) -> int:
        """The least that such a call lasts on the GPU in all: its launches, where no graph is
        replayed.
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
            self.model.dtype(self._head_class),
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
        """Prices in ns of one expert over 0, 1, …, max_tokens tokens; 0 for none.

        Kept: not to be changed.
        """

        def priced() -> NDArray[np.int64]:
            table = self.expert(device, layer, np.maximum(np.arange(max_tokens + 1), 1)).ns
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
        """Norm, projections and attention of a layer: ``tokens`` over ``sequences``, each from
        position ``first`` to ``end``.

        A state is read and written once a pass, and a recurrent one updated for every token. A
        layer with neither costs 0.
        """
        count, many, start, stop = np.broadcast_arrays(
            *(np.asarray(value, np.float64) for value in (tokens, sequences, first, end))
        )
        rates = self._rates(device, self.model.dtype(TensorClass.ATTENTION))
        if not self.model.layers[layer].has_mixer:
            return _price(None, count, np.zeros_like, rates)
        curves = self.attention_curves(device, layer)
        if not curves:
            ns = self._attention_roofline(device, layer, count, many, start, stop)
            return _price(None, count, lambda _: ns, rates)

        def formula(work: AttentionWork) -> Sizes:
            fed = work.sequences * (work.end - work.first)
            return self._attention_roofline(
                device, layer, fed, work.sequences, work.first, work.end
            )

        work = AttentionWork(sequences=many.ravel(), first=start.ravel(), end=stop.ravel())
        return _attention_price(from_curves(curves, work, formula), rates, count.shape)

    def attention_core(
        self,
        device: Device,
        layer: int,
        tokens: ArrayLike,
        sequences: ArrayLike,
        first: ArrayLike,
        end: ArrayLike,
    ) -> Price:
        """Scores and weighted values alone, as where the CPU attends over a KV cache in host
        memory: it reads the cache once a sequence.
        """
        spec = self.model.layers[layer]
        dtype = self.model.dtype(TensorClass.ATTENTION)
        count, many, start, stop = (
            np.asarray(value, np.float64) for value in (tokens, sequences, first, end)
        )
        attention = spec.attention
        if attention is None:
            return _price(None, count, np.zeros_like, self._rates(device, dtype))
        num_bytes = many * spec.elements_read(start, stop) * self.model.kv_element_bytes
        num_bytes += (
            count
            * (attention.score_elements + attention.value_elements)
            * self.model.activation_bytes
        )
        flops = FLOPS_PER_WEIGHT * count * spec.pair_elements_per_token(start, stop)
        ns = self._roofline(device, num_bytes, flops, "attention_core", dtype)
        return _price(None, count, lambda _: ns, self._rates(device, dtype))

    def projection(self, layer: int, tokens: ArrayLike, *, is_output: bool) -> Price:
        """On the GPU, the products before the attention core (norm, queries, keys, values) or
        behind it (the output).
        """
        spec = self.model.layers[layer]
        dtype = self.model.dtype(TensorClass.ATTENTION)
        if not spec.has_mixer:
            return _price(
                None, np.asarray(tokens, np.float64), np.zeros_like, self._rates("gpu", dtype)
            )
        output = output_params(self.model, layer)
        mixing = spec.params.get(TensorClass.ATTENTION, 0)
        params = output if is_output else mixing - output + spec.params.get(TensorClass.NORM, 0)
        share = output / max(1, mixing)
        num_bytes = spec.bytes.get(TensorClass.ATTENTION, 0) * (share if is_output else 1 - share)
        num_bytes += 0 if is_output else spec.bytes.get(TensorClass.NORM, 0)
        kernels = "attention_output" if is_output else "attention_input"
        return self._product("gpu", num_bytes, params, tokens, kernels, dtype, None)

    def weights(self, device: Device, layer: int, which: TensorClass, tokens: ArrayLike) -> Price:
        """A plain product with the weights of one class of a layer:

        ROUTER, DENSE_FFN or SHARED_EXPERT.
        """
        spec = self.model.layers[layer]
        kernels = {
            TensorClass.ROUTER: "gate",
            TensorClass.DENSE_FFN: "dense_ffn",
            TensorClass.SHARED_EXPERT: "shared_expert",
        }[which]
        num_bytes = spec.bytes.get(which, 0)
        params = spec.params.get(which, 0)
        curve = self.weights_curve(device, layer, which)
        return self._product(
            device, num_bytes, params, tokens, kernels, self.model.dtype(which), curve
        )

    def head(self, device: Device, tokens: ArrayLike) -> Price:
        """Final norm and vocabulary projection of that many positions."""
        model = self.model
        which = self._head_class
        num_bytes = model.top_bytes.get(which, 0)
        params = model.top_params.get(which, 0)
        return self._product(
            device, num_bytes, params, tokens, "head", model.dtype(which), self.head_curve(device)
        )

    def copy(self, way: Way, num_bytes: ArrayLike, *, is_pinned: bool) -> Price:
        """A copy between host and GPU."""
        direction: Direction = getattr(self.machine.link, way)
        rate = _copy_rate(direction, is_pinned)
        latency = direction.latency_ns

        def linear(size: Sizes) -> Sizes:
            return latency.effective + size / rate.effective * NS_PER_S

        sizes = np.maximum(np.asarray(num_bytes, np.float64), 1)
        return _price(
            self.copy_curve(way, is_pinned=is_pinned),
            sizes,
            linear,
            (rate.provenance, latency.provenance),
        )

    def layer_overhead_ns(self) -> int:
        """Host time per layer that nothing hides."""
        return round(self.machine.host.layer_overhead_ns.effective)

    def step_overhead_ns(self) -> int:
        """Host time per forward pass that nothing hides."""
        return round(self.machine.host.step_overhead_ns.effective)

    @property
    def _head_class(self) -> TensorClass:
        return TensorClass.EMBEDDING if self.model.is_head_tied else TensorClass.HEAD

    def _product(
        self,
        device: Device,
        num_bytes: float,
        params: int,
        tokens: ArrayLike,
        kernels: str,
        dtype: str,
        curve: Curve | None,
    ) -> Price:
        def roofline(count: Sizes) -> Sizes:
            activations = 2 * count * self.model.hidden * self.model.activation_bytes
            read = self.as_read(device, num_bytes, params) + activations
            return self._roofline(device, read, FLOPS_PER_WEIGHT * params * count, kernels, dtype)

        return _price(curve, np.asarray(tokens, np.float64), roofline, self._rates(device, dtype))

    def _attention_roofline(
        self, device: Device, layer: int, count: Sizes, many: Sizes, start: Sizes, stop: Sizes
    ) -> Sizes:
        spec = self.model.layers[layer]
        dtype = self.model.dtype(TensorClass.ATTENTION)
        params = spec.params.get(TensorClass.ATTENTION, 0) + spec.params.get(TensorClass.NORM, 0)
        weight_bytes = spec.bytes.get(TensorClass.ATTENTION, 0) + spec.bytes.get(
            TensorClass.NORM, 0
        )
        num_bytes = self.as_read(device, weight_bytes, params)
        kv_bytes = many * (
            spec.elements_read(start, stop) * self.model.kv_element_bytes + 2 * spec.state_bytes
        )
        flops = FLOPS_PER_WEIGHT * count * (params + spec.pair_elements_per_token(start, stop))
        flops += FLOPS_PER_STATE_ELEMENT * count * spec.state_elements
        activations = 4 * count * self.model.hidden * self.model.activation_bytes
        return self._roofline(device, num_bytes + kv_bytes + activations, flops, "attention", dtype)

    def _roofline(
        self, device: Device, num_bytes: Sizes, flops: Sizes, operation: str, dtype: str
    ) -> Sizes:
        """ns of an operation that reads that many bytes, as ``as_read`` counts them, and computes
        in that format's type.
        """
        memory, compute = self._device_rates(device, dtype)
        reading = num_bytes / memory.effective * NS_PER_S
        computing = flops / compute.effective * NS_PER_S
        if device == "gpu":
            serial = self.machine.gpu.serial_fraction.effective
            work = np.maximum(reading, computing) + serial * np.minimum(reading, computing)
            return np.asarray(
                np.maximum(work + self.kernels_ns(operation), self.launches_ns(operation))
            )
        call_ns = 0.0 if self.is_in_group else self.machine.cpu.call_overhead_ns.effective
        return np.asarray(np.maximum(reading, computing) + call_ns)

    def num_kernels(self, operation: str) -> int:
        """GPU kernels of an operation, as the keys of FUSED_KERNELS name it; 0 for an expert within
        a group.
        """
        if operation == "expert" and self.is_in_group:
            return 0
        return (FUSED_KERNELS if self.is_fused else EAGER_KERNELS)[operation]

    def kernels_ns(self, operation: str) -> float:
        """What the kernels of an operation take on the GPU beside their work."""
        return self.num_kernels(operation) * self.machine.gpu.kernel_ns.effective

    def launches_ns(self, operation: str) -> float:
        """The host's time for the launches of an operation; 0 where a graph is replayed."""
        return (
            0.0
            if self.captures_graphs
            else self.num_kernels(operation) * self.machine.gpu.launch_overhead_ns.effective
        )

    def as_read(self, device: Device, weight_bytes: float, num_weights: int) -> float:
        """Bytes that take as long to read at the memory rate as those weights do."""
        is_packed = device == "gpu" and weight_bytes < num_weights
        return (
            weight_bytes / self.machine.gpu.packed_rate_fraction.effective
            if is_packed
            else weight_bytes
        )

    def _device_rates(self, device: Device, dtype: str) -> tuple[Quantity, Quantity]:
        part = self.machine.gpu if device == "gpu" else self.machine.cpu
        return part.memory_bytes_per_s, part.flops_per_s[compute_type(part.flops_per_s, dtype)]

    def _rates(self, device: Device, dtype: str) -> tuple[Provenance, ...]:
        used = [*self._device_rates(device, dtype)]
        gpu = self.machine.gpu
        if device == "cpu":
            used.append(self.machine.cpu.call_overhead_ns)
        else:
            used += [gpu.kernel_ns, gpu.serial_fraction, gpu.packed_rate_fraction]
        if device == "gpu" and not self.captures_graphs:
            used.append(gpu.launch_overhead_ns)
        return tuple(quantity.provenance for quantity in used)


def _price(
    curve: Curve | None,
    sizes: Sizes,
    formula: Callable[[Sizes], Sizes],
    rates: tuple[Provenance, ...],
) -> Price:
    if curve is None:
        ns = formula(sizes)
        provenance = weakest(rates)
        outside = np.zeros(np.shape(sizes), bool)
    else:
        outside = ~curve.covers(sizes)
        ns = curve.duration_ns(sizes) * np.where(
            outside, formula(sizes) / formula(np.clip(sizes, *curve.range)), 1.0
        )
        provenance = weakest((curve.provenance, *rates)) if outside.any() else curve.provenance
    return Price(ns=np.rint(ns).astype(np.int64), provenance=provenance, is_extrapolated=outside)


def _grouped_price(found: FromGroups, rates: tuple[Provenance, ...]) -> Price:
    """A price from curves of experts within a call."""
    own = found.curve.provenance
    return Price(
        ns=np.rint(found.ns).astype(np.int64),
        provenance=weakest((own, *rates)) if found.is_extrapolated.any() else own,
        is_extrapolated=found.is_extrapolated,
    )


def output_params(model: Model, layer: int) -> int:
    """Weights of an attention's output product: those of a plain one, but at most half of all (MLA
    keeps it in other shapes): assumed.
    """
    spec = model.layers[layer]
    mixing = spec.params.get(TensorClass.ATTENTION, 0)
    return (
        mixing // 2
        if spec.attention is None
        else min(model.hidden * spec.attention.value_elements, mixing // 2)
    )


def _attention_price(
    found: FromCurves, rates: tuple[Provenance, ...], shape: tuple[int, ...]
) -> Price:
    is_all_measured = bool(found.is_measured.all()) and not found.is_outside.any()
    provenance = weakest(
        found.provenances if is_all_measured and found.provenances else (*found.provenances, *rates)
    )
    ns = np.rint(found.ns).astype(np.int64).reshape(shape)
    return Price(ns=ns, provenance=provenance, is_extrapolated=found.is_outside.reshape(shape))


def compute_type(rates: Mapping[str, Quantity], dtype: str) -> str:
    """The compute type that weights of that format run at: their own where the device has it, else
    bf16.

    Raises InputError for a device that states neither.
    """
    if dtype not in rates and "bf16" not in rates:
        raise InputError(
            f"flops_per_s must state bf16, which {dtype} weights run at; it has {', '.join(rates)}"
        )
    return dtype if dtype in rates else "bf16"


def _copy_rate(direction: Direction, is_pinned: bool) -> Quantity:
    if is_pinned or direction.pageable_bytes_per_s is None:
        return direction.bytes_per_s
    return direction.pageable_bytes_per_s
