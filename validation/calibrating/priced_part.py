"""The priced parts of a model on a device: by which curves, or by which formula at which sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, Operation
from sim.costs.cost_model import CostModel
from sim.costs.curve_shapes import (
    Shape,
    attention_shape,
    expert_shape,
    ffn_shape,
    gate_shape,
    head_shape,
)
from sim.costs.roofline import Device
from sim.model.model import Attention, TensorClass, layer_shapes
from validation.calibrating.observed_run import CostPart

TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CONTEXTS = (1, 16, 64, 256, 1024, 4096)
PROMPTS = (2, 8, 32, 128, 512, 1024)
"""Sizes at which a price by rates becomes a curve: tokens, contexts, and tokens of a prompt."""

Sizes = NDArray[np.float64]
PriceNs = Callable[[Sizes], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PricedPart:
    """A part of a model on a device, and what prices it: ``curves``, or else ``price_ns``.

    ``sizes`` are those at which ``price_ns`` becomes a curve.
    """

    part: CostPart
    operation: Operation
    device: Device
    dtype: str
    shape: Shape
    curves: tuple[Curve, ...]
    sizes: tuple[int, ...]
    price_ns: PriceNs


def priced_parts(costs: CostModel, sequences: int) -> Iterator[PricedPart]:
    """Yield all parts of the model on both devices except copies; ``sequences`` are decoded at
    once.
    """
    devices: tuple[Device, Device] = ("gpu", "cpu")
    for device in devices:
        own = _Parts(costs=costs, device=device)
        yield own.expert()
        yield own.head()
        for layer in layer_shapes(costs.model)[0]:
            yield from own.weights(layer)
            spec = costs.model.layers[layer].attention
            if spec is not None:
                yield own.attention(layer, spec, sequences, is_decode=True)
                yield own.attention(layer, spec, sequences, is_decode=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The parts on one device."""

    costs: CostModel
    device: Device

    def expert(self) -> PricedPart:
        """Price a routed expert."""
        costs = self.costs
        # Experts of all layers have one shape, so the first layer stands for all.
        first = self.costs.model.moe_layers[0]

        def price_ns(tokens: Sizes) -> NDArray[np.int64]:
            """Return the part's price by size."""
            return costs.expert(self.device, first, tokens).ns

        curve = costs.expert_curve(self.device)
        return self._part(
            CostPart.EXPERT,
            Operation.EXPERT,
            TensorClass.EXPERT,
            expert_shape(costs.model),
            curve,
            price_ns,
        )

    def head(self) -> PricedPart:
        """Price the vocabulary projection."""
        model = self.costs.model
        # A tied head is stored once, in the format of the embedding.
        which = TensorClass.EMBEDDING if model.is_head_tied else TensorClass.HEAD

        def price_ns(sequences: Sizes) -> NDArray[np.int64]:
            """Return the part's price by size."""
            return self.costs.head(self.device, sequences).ns

        return self._part(
            CostPart.HEAD,
            Operation.DENSE,
            which,
            head_shape(model),
            self.costs.head_curve(self.device),
            price_ns,
        )

    def weights(self, layer: int) -> Iterator[PricedPart]:
        """Yield the router and the feed-forwards that serve every token, as far as the layer has
        them.
        """
        model = self.costs.model
        present = model.layers[layer].params.keys()
        for which in (TensorClass.ROUTER, TensorClass.SHARED_EXPERT, TensorClass.DENSE_FFN):
            is_gate = which is TensorClass.ROUTER
            shape = gate_shape(model, layer) if is_gate else ffn_shape(model, layer, which)
            if which in present and shape is not None:
                part, operation = (
                    (CostPart.GATE, Operation.GATE)
                    if is_gate
                    else (CostPart.FEED_FORWARD, Operation.DENSE)
                )
                curve = self.costs.weights_curve(self.device, layer, which)
                yield self._part(
                    part, operation, which, shape, curve, partial(self._weights_ns, layer, which)
                )

    def attention(
        self, layer: int, attention: Attention, sequences: int, *, is_decode: bool
    ) -> PricedPart:
        """Price a layer's attention: one new token a sequence by context, or a prompt by its
        tokens.
        """
        model = self.costs.model
        spec = self.costs.model.layers[layer]
        operation = Operation.ATTENTION_DECODE if is_decode else Operation.ATTENTION_PREFILL
        params = spec.params.get(TensorClass.ATTENTION, 0)
        shape = attention_shape(model.hidden, attention, params, spec.state) | {
            "sequences": sequences
        }

        def price_ns(x: Sizes) -> NDArray[np.int64]:
            """Return the part's price by size."""
            # A decoded token attends to all before it; a prompt begins at nothing.
            first = x - 1 if is_decode else np.zeros_like(x)
            return self.costs.attention(
                self.device, layer, sequences * (x - first), sequences, first, x
            ).ns

        return PricedPart(
            part=CostPart.ATTENTION_DECODE if is_decode else CostPart.ATTENTION_PREFILL,
            operation=operation,
            device=self.device,
            dtype=model.dtype(TensorClass.ATTENTION),
            shape=shape,
            curves=tuple(
                curve
                for curve in self.costs.attention_curves(self.device, layer)
                if curve.operation is operation
            ),
            sizes=CONTEXTS if is_decode else PROMPTS,
            price_ns=price_ns,
        )

    def _weights_ns(self, layer: int, which: TensorClass, tokens: Sizes) -> NDArray[np.int64]:
        return self.costs.weights(self.device, layer, which, tokens).ns

    def _part(
        self,
        part: CostPart,
        operation: Operation,
        which: TensorClass,
        shape: Shape,
        curve: Curve | None,
        price_ns: PriceNs,
    ) -> PricedPart:
        return PricedPart(
            part=part,
            operation=operation,
            device=self.device,
            dtype=self.costs.model.dtype(which),
            shape=shape,
            curves=() if curve is None else (curve,),
            sizes=TOKENS,
            price_ns=price_ns,
        )
