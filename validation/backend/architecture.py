"""What the backend builds: the dimensions of every tensor, read off a model of the simulator or made small after its pattern."""

from dataclasses import dataclass, replace

from hwprofiles import InputError
from sim.model import Attention, Layer, Model, TensorClass, without_zeros

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """Dimensions of one decoder layer; what it does not have is 0."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    window_tokens: int | None
    num_experts: int
    top_k: int
    shared_intermediate: int
    dense_intermediate: int
    expert_intermediate: int

    @property
    def is_moe(self) -> bool:
        """Whether the layer routes tokens to experts."""
        return self.num_experts > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """An MoE decoder as torch runs it: rotary grouped-query attention, gated feed-forwards, RMS norms.

    ``normalizes_top_k``: the shares of the selected experts are made to sum to 1 (Mixtral does; Qwen-MoE by its configuration).
    """

    name: str
    hidden: int
    vocab: int
    layers: tuple[LayerShape, ...]
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-6
    normalizes_top_k: bool = True
    has_qkv_bias: bool = False
    has_shared_gate: bool = False

    def dense_shapes(self, layer: int) -> Shapes:
        """Tensors of a layer outside its routed experts, by name, outputs first."""
        hidden, shape = self.hidden, self.layers[layer]
        queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        shapes: Shapes = {"input_norm": (hidden,), "q": (queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
        if self.has_qkv_bias:
            shapes |= {"q_bias": (queries,), "k_bias": (keys,), "v_bias": (keys,)}
        shapes["post_norm"] = (hidden,)
        if shape.is_moe:
            shapes["router"] = (shape.num_experts, hidden)
        if shape.shared_intermediate:
            shapes |= _gated("shared", hidden, shape.shared_intermediate)
            if self.has_shared_gate:
                shapes["shared_share"] = (1, hidden)
        if shape.dense_intermediate:
            shapes |= _gated("dense", hidden, shape.dense_intermediate)
        return shapes

    def expert_shapes(self, layer: int) -> Shapes:
        """Tensors of one routed expert of a layer, by name; none in a dense layer."""
        return _gated("expert", self.hidden, self.layers[layer].expert_intermediate) if self.layers[layer].is_moe else {}

    def top_shapes(self) -> Shapes:
        """Tensors outside the layers."""
        return {"embedding": (self.vocab, self.hidden), "norm": (self.hidden,), "head": (self.vocab, self.hidden)}


def architecture_of(model: Model) -> Architecture:
    """The decoder that a model of the simulator describes, from its own counts. Raises InputError for what the backend does not build."""
    gates = {layer.params[TensorClass.SHARED_EXPERT] % (3 * model.hidden) for layer in model.layers if _has_shared(layer)}
    if gates - {0, model.hidden}:
        raise InputError(f"{model.name}: shared experts of {gates} weights beyond whole rows of {model.hidden} are not executed")
    norms = {layer.params.get(TensorClass.NORM, 0) for layer in model.layers}
    if norms != {2 * model.hidden}:
        raise InputError(f"{model.name}: norms of {max(norms)} weights a layer are not executed; two of {model.hidden} are")
    biases = {_attention_rest(model, layer) for layer in model.layers}
    sizes = {_bias_size(layer.attention) for layer in model.layers}
    if biases not in ({0}, sizes):
        raise InputError(f"{model.name}: attention with {max(biases)} weights beyond query, key, value and output is not executed")
    return Architecture(
        name=model.name,
        hidden=model.hidden,
        vocab=model.vocab,
        layers=tuple(_layer_shape(model, layer) for layer in model.layers),
        normalizes_top_k=gates != {model.hidden},
        has_qkv_bias=biases != {0},
        has_shared_gate=gates == {model.hidden},
    )


def stand_in(model: Model, *, hidden: int = 32, intermediate: int = 32, vocab: int = 256) -> Model:
    """A small fp32 model with the layers, experts and selections of a large one, for runs in which only order and place matter.

    Whatever its pattern, its attention is grouped-query with two heads, so multi-head latent attention is stood in for too.
    """
    element_bytes = 4
    top = {TensorClass.EMBEDDING: vocab * hidden, TensorClass.HEAD: vocab * hidden, TensorClass.NORM: hidden}
    return replace(
        model,
        name=f"stand-in for {model.name}",
        hidden=hidden,
        vocab=vocab,
        expert_intermediate=intermediate,
        layers=tuple(_small_layer(layer, hidden, intermediate, element_bytes) for layer in model.layers),
        top_params=top,
        top_bytes={which: element_bytes * count for which, count in top.items()},
        dtypes={which: "fp32" for which in TensorClass},
        quantization="fp32",
        is_head_tied=False,
        activation_bytes=element_bytes,
        kv_element_bytes=float(element_bytes),
    )


def _small_layer(layer: Layer, hidden: int, intermediate: int, element_bytes: int) -> Layer:
    gated = 3 * hidden * intermediate
    params = {
        TensorClass.NORM: 2 * hidden,
        TensorClass.ATTENTION: 4 * hidden * hidden,
        TensorClass.ROUTER: hidden * layer.num_experts,
        TensorClass.EXPERT: gated if layer.is_moe else 0,
        TensorClass.SHARED_EXPERT: gated if _has_shared(layer) else 0,
        TensorClass.DENSE_FFN: 0 if layer.is_moe else gated,
    }
    params = dict(without_zeros(params))
    sizes = {which: element_bytes * count for which, count in params.items()}
    attention = Attention(
        num_heads=2,
        kv_elements_per_token=2 * hidden,
        score_elements=hidden,
        value_elements=hidden,
        window_tokens=layer.attention.window_tokens,
    )
    return replace(layer, attention=attention, params=params, bytes=sizes)


def _gated(name: str, hidden: int, intermediate: int) -> Shapes:
    wide, narrow = (intermediate, hidden), (hidden, intermediate)
    return {f"{name}_gate": wide, f"{name}_up": wide, f"{name}_down": narrow}


def _has_shared(layer: Layer) -> bool:
    return layer.params.get(TensorClass.SHARED_EXPERT, 0) > 0


def _bias_size(attention: Attention) -> int:
    return attention.value_elements + attention.kv_elements_per_token


def _attention_rest(model: Model, layer: Layer) -> int:
    """Weights of a layer's attention that its four matrices do not account for."""
    attention = layer.attention
    if attention.score_elements != attention.value_elements:
        raise InputError(f"{model.name}: multi-head latent attention is not executed; a stand-in of the model is")
    matrices = model.hidden * (2 * attention.value_elements + attention.kv_elements_per_token)
    return layer.params[TensorClass.ATTENTION] - matrices


def _layer_shape(model: Model, layer: Layer) -> LayerShape:
    attention, row = layer.attention, 3 * model.hidden
    head_dim = attention.value_elements // attention.num_heads
    return LayerShape(
        num_heads=attention.num_heads,
        num_kv_heads=attention.kv_elements_per_token // (2 * head_dim),
        head_dim=head_dim,
        window_tokens=attention.window_tokens,
        num_experts=layer.num_experts,
        top_k=layer.top_k,
        shared_intermediate=layer.params.get(TensorClass.SHARED_EXPERT, 0) // row,
        dense_intermediate=layer.params.get(TensorClass.DENSE_FFN, 0) // row,
        expert_intermediate=layer.params.get(TensorClass.EXPERT, 0) // row,
    )
