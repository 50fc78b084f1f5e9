"""The dimensions of every tensor that the backend builds, and small stand-ins for large models."""

from dataclasses import dataclass, replace

from hwprofiles import InputError
from sim.model.model import Attention, Layer, Model, TensorClass, without_zeros

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentShape:
    """Ranks of the latents and dimensions of a head in latent attention (arXiv 2405.04434).

    A ``query_rank`` of 0 means that queries are not compressed.
    """

    query_rank: int
    key_rank: int
    plain_dim: int
    rotary_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How a router turns logits into shares: by softmax or sigmoid, then times ``scale``.

    With sigmoid, a bias counts for the choice alone. A token selects among the experts of its
    ``top_groups`` best of ``num_groups`` groups. A group ranks by its best expert, or with sigmoid
    by the sum of its best two.
    """

    is_sigmoid: bool = False
    num_groups: int = 1
    top_groups: int = 1
    scale: float = 1.0


SOFTMAX = Scoring()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """Dimensions of one decoder layer; a part that the layer does not have is 0.

    With ``latent``, the head dimensions are those of ``latent``, and ``head_dim`` is its rotary
    one. ``has_head_norms``: queries and keys are normed head by head.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    window_tokens: int | None
    num_experts: int
    top_k: int
    shared_intermediate: int
    dense_intermediate: int
    expert_intermediate: int
    latent: LatentShape | None = None
    has_head_norms: bool = False

    @property
    def is_moe(self) -> bool:
        """Whether the layer routes tokens to experts."""
        return self.num_experts > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """An MoE decoder as torch runs it.

    Attention is rotary, grouped-query or latent; feed-forwards are gated; norms are RMS norms.
    ``normalizes_top_k``: the shares of the selected experts are made to sum to 1 (Mixtral does;
    Qwen-MoE by its configuration).
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
    scoring: Scoring = SOFTMAX

    def dense_shapes(self, layer: int) -> Shapes:
        """Return the tensors' shapes of a layer outside its routed experts, by name, outputs
        first.
        """
        hidden = self.hidden
        shape = self.layers[layer]
        shapes: Shapes = {"input_norm": (hidden,)}
        shapes |= (
            _latent_shapes(hidden, shape, shape.latent)
            if shape.latent
            else _grouped_shapes(hidden, shape, self.has_qkv_bias)
        )
        shapes["post_norm"] = (hidden,)
        if shape.is_moe:
            shapes["router"] = (shape.num_experts, hidden)
            if self.scoring.is_sigmoid:
                shapes["router_bias"] = (shape.num_experts,)
        if shape.shared_intermediate:
            shapes |= _gated("shared", hidden, shape.shared_intermediate)
            if self.has_shared_gate:
                shapes["shared_share"] = (1, hidden)
        if shape.dense_intermediate:
            shapes |= _gated("dense", hidden, shape.dense_intermediate)
        return shapes

    def expert_shapes(self, layer: int) -> Shapes:
        """Return the tensors' shapes of one routed expert of a layer, by name; none in a dense
        layer.
        """
        return (
            _gated("expert", self.hidden, self.layers[layer].expert_intermediate)
            if self.layers[layer].is_moe
            else {}
        )

    def top_shapes(self) -> Shapes:
        """Return the shapes of the tensors outside the layers, by name."""
        return {
            "embedding": (self.vocab, self.hidden),
            "norm": (self.hidden,),
            "head": (self.vocab, self.hidden),
        }


def architecture_of(model: Model, latent: LatentShape | None = None) -> Architecture:
    """Return the decoder that a model of the simulator describes by its counts of weights.

    ``latent`` is the shape of its latent attention, if known. Raises InputError for a model that
    the backend does not build.
    """
    gates = {
        layer.params[TensorClass.SHARED_EXPERT] % (3 * model.hidden)
        for layer in model.layers
        if _has_shared(layer)
    }
    # A model counts weights by class. What is left over after whole rows tells which parts it has.
    if gates - {0, model.hidden}:
        raise InputError(
            f"{model.name}: shared experts of {gates} weights beyond whole rows of {model.hidden} are not executed"
        )
    shapes = tuple(_layer_shape(model, layer, latent) for layer in model.layers)
    for layer, shape in zip(model.layers, shapes, strict=True):
        _check_norms(model, layer, shape)
    grouped = [layer for layer in model.layers if not is_latent(executed_attention(model, layer))]
    biases = {attention_rest(model, layer) for layer in grouped}
    sizes = {_bias_size(executed_attention(model, layer)) for layer in model.layers}
    # All layers have biases, or none has: the backend builds one kind of attention.
    if biases not in (set(), {0}, sizes):
        raise InputError(
            f"{model.name}: attention with {max(biases)} weights beyond query, key, value and output is not executed"
        )
    routers = {
        layer.params[TensorClass.ROUTER] - model.hidden * layer.num_experts
        for layer in model.layers
        if layer.is_moe
    }
    # A bias for each expert is what sigmoid routers have.
    if not routers <= {0, model.num_experts}:
        raise InputError(
            f"{model.name}: routers with {max(routers)} weights beyond one row an expert are not executed"
        )
    return Architecture(
        name=model.name,
        hidden=model.hidden,
        vocab=model.vocab,
        layers=shapes,
        # Counts cannot tell. Qwen2-MoE has a gate for shared experts, and does not normalize.
        normalizes_top_k=gates != {model.hidden},
        has_qkv_bias=bool(biases - {0}),
        has_shared_gate=gates == {model.hidden},
        scoring=Scoring(is_sigmoid=model.num_experts in routers),
    )


def executed_attention(model: Model, layer: Layer) -> Attention:
    """The layer's attention.

    Raises InputError, naming the layer, for a layer that the backend does not run.
    """
    attention = layer.attention
    lacking = None
    if attention is None:
        lacking = "no attention" if layer.state is None else "a state in place of attention"
    elif layer.state is not None:
        lacking = "a state beside attention"
    elif not attention.is_plain:
        lacking = "compressed or sparse attention"
    elif layer.is_moe == (TensorClass.DENSE_FFN in layer.params):
        lacking = "experts beside a dense feed-forward" if layer.is_moe else "no feed-forward"
    if lacking or attention is None:
        raise InputError(
            f"{model.name}: layer {model.layers.index(layer)} has {lacking}, which the backend does not run"
        )
    return attention


def is_latent(attention: Attention) -> bool:
    """Whether keys and values have different dimensions, as in latent attention."""
    return attention.score_elements != attention.value_elements


def stand_in(model: Model, *, hidden: int = 32, intermediate: int = 32, vocab: int = 256) -> Model:
    """Return a small fp32 model with the layers, experts and selections of a large one.

    The small model serves runs in which only order and place matter. Attention is grouped-query
    with two heads, also in place of latent attention and states. Raises InputError for a layer with
    nothing before its feed-forward, or no feed-forward.
    """
    # A stand-in gives every layer both parts, so it would run tasks that the model does not have.
    for index, layer in enumerate(model.layers):
        has_ffn = layer.is_moe or TensorClass.DENSE_FFN in layer.params
        if not layer.has_mixer or not has_ffn:
            lacking = "no feed-forward" if layer.has_mixer else "no attention"
            raise InputError(
                f"{model.name}: layer {index} has {lacking}, which the backend does not run"
            )
    element_bytes = 4
    top = {
        TensorClass.EMBEDDING: vocab * hidden,
        TensorClass.HEAD: vocab * hidden,
        TensorClass.NORM: hidden,
    }
    return replace(
        model,
        name=f"stand-in for {model.name}",
        hidden=hidden,
        vocab=vocab,
        expert_intermediate=intermediate,
        layers=tuple(
            _small_layer(layer, hidden, intermediate, element_bytes) for layer in model.layers
        ),
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
    # A class without weights must be absent: its presence says that a layer has the part.
    params = dict(without_zeros(params))
    sizes = {which: element_bytes * count for which, count in params.items()}
    attention = Attention(
        num_heads=2,
        kv_elements_per_token=2 * hidden,
        score_elements=hidden,
        value_elements=hidden,
        window_tokens=None if layer.attention is None else layer.attention.window_tokens,
    )
    return replace(layer, attention=attention, state=None, params=params, bytes=sizes)


def _gated(name: str, hidden: int, intermediate: int) -> Shapes:
    wide = (intermediate, hidden)
    narrow = (hidden, intermediate)
    return {f"{name}_gate": wide, f"{name}_up": wide, f"{name}_down": narrow}


def _has_shared(layer: Layer) -> bool:
    return layer.params.get(TensorClass.SHARED_EXPERT, 0) > 0


def _bias_size(attention: Attention) -> int:
    return attention.value_elements + attention.kv_elements_per_token


def attention_rest(model: Model, layer: Layer) -> int:
    """Return the weights of a layer's grouped-query attention beyond its four matrices."""
    attention = executed_attention(model, layer)
    matrices = model.hidden * (2 * attention.value_elements + attention.kv_elements_per_token)
    return layer.params[TensorClass.ATTENTION] - matrices


def _check_norms(model: Model, layer: Layer, shape: LayerShape) -> None:
    latent = shape.latent
    own = (
        latent.query_rank + latent.key_rank if latent else 2 * shape.head_dim * shape.has_head_norms
    )
    found = layer.params.get(TensorClass.NORM, 0)
    # Some families have further norms, which the backend would leave out without a word.
    if found != 2 * model.hidden + own:
        raise InputError(
            f"{model.name}: norms of {found} weights a layer are not executed; {2 * model.hidden + own} are"
        )


def _layer_shape(model: Model, layer: Layer, latent: LatentShape | None) -> LayerShape:
    attention = executed_attention(model, layer)
    row = 3 * model.hidden
    if latent is None and is_latent(attention):
        latent = _latent_shape(model, layer)
    # Of latent attention only the rotary part of a head is turned.
    head_dim = latent.rotary_dim if latent else attention.value_elements // attention.num_heads
    return LayerShape(
        num_heads=attention.num_heads,
        # All heads read one latent.
        num_kv_heads=1 if latent else attention.kv_elements_per_token // (2 * head_dim),
        head_dim=head_dim,
        window_tokens=attention.window_tokens,
        num_experts=layer.num_experts,
        top_k=layer.top_k,
        shared_intermediate=layer.params.get(TensorClass.SHARED_EXPERT, 0) // row,
        dense_intermediate=layer.params.get(TensorClass.DENSE_FFN, 0) // row,
        expert_intermediate=layer.params.get(TensorClass.EXPERT, 0) // row,
        latent=latent,
        has_head_norms=latent is None
        and layer.params.get(TensorClass.NORM, 0) == 2 * model.hidden + 2 * head_dim,
    )


def _latent_shape(model: Model, layer: Layer) -> LatentShape:
    """Return the shape that the counts of weights give.

    Counts do not tell plain from value dimensions. Both are taken to be alike, as in every
    published model.
    """
    attention = executed_attention(model, layer)
    hidden = model.hidden
    heads = attention.num_heads
    key_rank = attention.value_elements // heads
    rotary = attention.score_elements // heads - key_rank
    # The norms of both latents are counted with the layer's own two.
    query_rank = layer.params.get(TensorClass.NORM, 0) - 2 * hidden - key_rank
    into_queries = (query_rank or hidden) * heads
    rest = (
        layer.params[TensorClass.ATTENTION]
        - hidden * (query_rank + key_rank + rotary)
        - into_queries * rotary
    )
    dim, left = divmod(rest, into_queries + 2 * key_rank * heads + heads * hidden)
    if left or dim <= 0 or query_rank < 0:
        raise InputError(
            f"{model.name}: latent attention with {left} weights beyond its projections is not executed"
        )
    return LatentShape(
        query_rank=query_rank, key_rank=key_rank, plain_dim=dim, rotary_dim=rotary, value_dim=dim
    )


def _grouped_shapes(hidden: int, shape: LayerShape, has_bias: bool) -> Shapes:
    queries = shape.num_heads * shape.head_dim
    keys = shape.num_kv_heads * shape.head_dim
    shapes: Shapes = {
        "q": (queries, hidden),
        "k": (keys, hidden),
        "v": (keys, hidden),
        "o": (hidden, queries),
    }
    if has_bias:
        shapes |= {"q_bias": (queries,), "k_bias": (keys,), "v_bias": (keys,)}
    if shape.has_head_norms:
        shapes |= {"q_norm": (shape.head_dim,), "k_norm": (shape.head_dim,)}
    return shapes


def _latent_shapes(hidden: int, shape: LayerShape, latent: LatentShape) -> Shapes:
    heads = shape.num_heads
    key_dim = latent.plain_dim + latent.rotary_dim
    shapes: Shapes = {"q": (heads * key_dim, latent.query_rank or hidden)}
    if latent.query_rank:
        shapes |= {"q_down": (latent.query_rank, hidden), "q_down_norm": (latent.query_rank,)}
    shapes |= {
        "kv_down": (latent.key_rank + latent.rotary_dim, hidden),
        "kv_down_norm": (latent.key_rank,),
    }
    shapes["kv"] = (heads * (latent.plain_dim + latent.value_dim), latent.key_rank)
    shapes["o"] = (hidden, heads * latent.value_dim)
    return shapes
