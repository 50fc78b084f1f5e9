"""A model that is sliced over cards, which run their slices at once: what a card holds, and what
passes between the cards.

``tensor``: heads, the width of feed-forwards and routed experts are split. Partial sums are added
up behind attention and behind the feed-forward, as in vLLM, SGLang and KTransformers
(``--tensor-parallel-size``). ``row``: the rows of every matrix besides routed experts are split,
and all else lies on the first card. Each matrix sends its input out and collects its rows, as in
llama.cpp (``-sm row``, ggml-cuda.cu, ggml_cuda_op_mul_mat) and fastllm (``--device multicuda``,
multicudadevice.cpp).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwprofiles import Curve
from sim.costs.copy_price import copied
from sim.costs.cost_model import CostModel, Way
from sim.costs.price import Price
from sim.costs.roofline import Device
from sim.model.attention import Attention, State
from sim.model.model import Layer, Model, TensorClass


class SplitMode(StrEnum):
    """How several GPUs share a model: experts are dealt out, or all hold slices of its matrices."""

    EXPERTS = "experts"
    TENSOR = "tensor"
    ROW = "row"


SPLIT_CLASSES = (TensorClass.ATTENTION, TensorClass.DENSE_FFN, TensorClass.SHARED_EXPERT)
"""Classes of a layer that are split over cards; norms and routers are not."""

MATRICES: Mapping[TensorClass, int] = {
    TensorClass.DENSE_FFN: 3,
    TensorClass.SHARED_EXPERT: 3,
}
"""Number of matrices of a feed-forward: gate, up and down."""

GROUPED_MATRICES = 4
COMPRESSED_MATRICES = 5
"""Number of matrices of attention: queries, keys, values, output. Where keys and values are
compressed (MLA): queries down and up, keys and values down and up, output.
"""


def slice_of(model: Model, num_cards: int, mode: SplitMode) -> Model:
    """Return the model as one of ``num_cards`` cards holds it; in ROW mode as the first does.

    In TENSOR mode a compressed cache (MLA), and the projection that makes it, are whole on every
    card. The projection that compresses queries is taken to be split, as its size is not known.
    """
    is_tensor = mode is SplitMode.TENSOR
    layers = tuple(_layer_slice(model, layer, num_cards, mode) for layer in model.layers)
    top_params = _shared(model.top_params, num_cards, (model.head_class,))
    top_bytes = _shared(model.top_bytes, num_cards, (model.head_class,))
    width = _share(model.expert_intermediate, num_cards if is_tensor else 1)
    return replace(
        model, layers=layers, top_params=top_params, top_bytes=top_bytes, expert_intermediate=width
    )


def _layer_slice(model: Model, layer: Layer, num_cards: int, mode: SplitMode) -> Layer:
    is_tensor = mode is SplitMode.TENSOR
    classes = (*SPLIT_CLASSES, TensorClass.EXPERT) if is_tensor else SPLIT_CLASSES
    params = dict(_shared(layer.params, num_cards, classes))
    num_bytes = dict(_shared(layer.bytes, num_cards, classes))
    if not is_tensor:
        return replace(layer, params=params, bytes=num_bytes)
    attention = layer.attention
    if attention is not None and is_compressed(attention):
        # Each card makes the whole cache, so it holds the projection that does.
        whole = layer.params.get(TensorClass.ATTENTION, 0)
        own = min(whole, model.hidden * attention.kv_elements_per_token)
        kept = own + _share(whole - own, num_cards)
        each = layer.bytes.get(TensorClass.ATTENTION, 0) / max(1, whole)
        params[TensorClass.ATTENTION] = kept
        num_bytes[TensorClass.ATTENTION] = round(kept * each)
    return replace(
        layer,
        params=params,
        bytes=num_bytes,
        attention=None if attention is None else _attention_slice(attention, num_cards),
        state=None
        if layer.state is None
        else State(
            elements=_share(layer.state.elements, num_cards),
            bytes=_share(layer.state.bytes, num_cards),
        ),
    )


def is_compressed(attention: Attention) -> bool:
    """Whether all heads read one compressed cache (MLA): scores are taken over more elements than
    values are summed over.
    """
    return attention.score_elements > attention.value_elements > 0


def _attention_slice(attention: Attention, num_cards: int) -> Attention:
    """The heads of one card, with the keys and values that they read."""
    cached = attention.kv_elements_per_token
    if not is_compressed(attention) and cached:
        # A key and a value of one head: cards beyond the number of such heads have copies.
        one_head = 2 * attention.value_elements // attention.num_heads
        cached = max(min(cached, one_head), _share(cached, num_cards))
    return replace(
        attention,
        num_heads=_share(attention.num_heads, num_cards),
        score_elements=_share(attention.score_elements, num_cards),
        value_elements=_share(attention.value_elements, num_cards),
        expanded_elements=_share(attention.expanded_elements, num_cards),
        kv_elements_per_token=cached,
    )


def _shared(
    counts: Mapping[TensorClass, int], num_cards: int, classes: tuple[TensorClass, ...]
) -> Mapping[TensorClass, int]:
    return {
        name: _share(count, num_cards) if name in classes else count
        for name, count in counts.items()
    }


def _share(count: int, num_cards: int) -> int:
    """The largest card's part of a count."""
    return -(-count // num_cards)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicedCosts(CostModel):
    """Prices where the GPU stands for ``num_cards`` equal cards that run slices at once: those of a
    slice, and of what passes between the cards. The CPU computes whole experts.

    An exchange takes a copy down to the host and one up again, each with its latency, or one copy
    over the machine's ``gpu_link``. Then a kernel joins what came. In TENSOR mode each layer has
    two exchanges, charged to attention: of what the layer before left, and of what attention
    leaves. In ROW mode each matrix has two, charged to the operation that it belongs to.
    """

    num_cards: int
    mode: SplitMode

    def expert(self, device: Device, layer: int, tokens: ArrayLike) -> Price:
        """See CostModel."""
        return self._on(device).expert(device, layer, tokens)

    def attention(
        self,
        device: Device,
        layer: int,
        tokens: ArrayLike,
        sequences: ArrayLike,
        first: ArrayLike,
        end: ArrayLike,
    ) -> Price:
        """See CostModel; with the exchanges of the layer in TENSOR mode, of its attention's
        matrices in ROW mode.
        """
        price = self._on(device).attention(device, layer, tokens, sequences, first, end)
        if device == "cpu":
            return price
        spec = self.model.layers[layer]
        number = 2
        if self.mode is SplitMode.ROW:
            is_mla = spec.attention is not None and is_compressed(spec.attention)
            matrices = COMPRESSED_MATRICES if is_mla else GROUPED_MATRICES
            number = 2 * matrices if spec.has_mixer else 0
        return self._exchanged(price, number, self._hidden_bytes(tokens))

    def weights(self, device: Device, layer: int, which: TensorClass, tokens: ArrayLike) -> Price:
        """See CostModel; with the exchanges of each matrix in ROW mode."""
        price = self._on(device).weights(device, layer, which, tokens)
        if device == "cpu" or self.mode is SplitMode.TENSOR:
            return price
        return self._exchanged(price, 2 * MATRICES.get(which, 0), self._hidden_bytes(tokens))

    def head(self, device: Device, tokens: ArrayLike) -> Price:
        """See CostModel; with two exchanges: of the last hidden states, and of the scores of each
        card's part of the vocabulary.
        """
        price = self._on(device).head(device, tokens)
        if device == "cpu":
            return price
        price = self._exchanged(price, 1, self._hidden_bytes(tokens))
        share = _share(self.model.vocab, self.num_cards) * self.model.activation_bytes
        return self._exchanged(price, 1, np.asarray(tokens, np.float64) * share)

    def copy(self, way: Way, num_bytes: ArrayLike, *, is_pinned: bool) -> Price:
        """See CostModel; in TENSOR mode each card copies its slice of the weights over its own
        link.
        """
        links = self.num_cards if self.mode is SplitMode.TENSOR else 1
        sizes = np.asarray(num_bytes, np.float64) / links
        return self._on("cpu").copy(way, sizes, is_pinned=is_pinned)

    def copy_hidden(self, way: Way, num_bytes: ArrayLike, *, is_pinned: bool) -> Price:
        """See CostModel; the first card hands over to the CPU."""
        return self._on("cpu").copy(way, num_bytes, is_pinned=is_pinned)

    def expert_curve(self, device: Device) -> Curve | None:
        """See CostModel."""
        return self._on(device).expert_curve(device)

    def weights_curve(self, device: Device, layer: int, which: TensorClass) -> Curve | None:
        """See CostModel."""
        return self._on(device).weights_curve(device, layer, which)

    def head_curve(self, device: Device) -> Curve | None:
        """See CostModel; none for a part of the vocabulary."""
        return self._on("cpu").head_curve(device) if device == "cpu" else None

    def attention_curves(self, device: Device, layer: int) -> list[Curve]:
        """See CostModel."""
        return self._on(device).attention_curves(device, layer)

    def _on(self, device: Device) -> CostModel:
        """Return the prices of what a device runs, without exchanges: a slice on the GPU, the whole
        on the CPU.
        """

        def made() -> CostModel:
            """Return the prices."""
            model = self.model
            if device == "gpu":
                model = slice_of(model, self.num_cards, self.mode)
            return CostModel(
                machine=self.machine,
                model=model,
                is_fused=self.is_fused,
                captures_graphs=self.captures_graphs,
                is_in_group=self.is_in_group,
            )

        return self.once(("on", device), made)

    def _hidden_bytes(self, tokens: ArrayLike) -> NDArray[np.float64]:
        size = self.model.hidden * self.model.activation_bytes
        return np.asarray(tokens, np.float64) * size

    def _exchanged(self, price: Price, number: int, num_bytes: NDArray[np.float64]) -> Price:
        """Return the price with ``number`` exchanges added, each of ``num_bytes`` of each card."""
        if not number:
            return price
        joining_ns = round(self.machine.gpu.kernel_ns.effective)
        others = (self.num_cards - 1) * num_bytes
        link = self.machine.gpu_link
        if link is not None:
            ns = copied(link, None, others, is_pinned=True).ns
        else:
            down = self._on("cpu").copy("d2h", num_bytes, is_pinned=True).ns
            ns = down + self._on("cpu").copy("h2d", others, is_pinned=True).ns
        return replace(price, ns=price.ns + number * (ns + joining_ns))
