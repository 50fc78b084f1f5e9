"""Models and machines small enough to be followed by hand."""

from dataclasses import replace
from typing import Any

from hwprofiles import Kind, Machine, Provenance, parse_machine
from sim.model.model import Attention, Indexer, Layer, Model, State, TensorClass

SOURCE = {"kind": "assumed", "source": "made up for tests", "date": "undated"}
HIDDEN, WIDE, VOCAB = 64, 128, 1000


def small_model(
    name: str = "small",
    *,
    num_layers: int = 3,
    num_experts: int = 8,
    top_k: int = 2,
    dense_layers: tuple[int, ...] = (),
    has_shared: bool = False,
    window_tokens: int | None = None,
    vocab: int = VOCAB,
    wider_experts: tuple[int, ...] = (),
) -> Model:
    """A decoder of 16-bit weights.

    Experts of ``wider_experts`` layers take 9/8 of the bytes, as mixed GGUF files have them.
    """
    layers = tuple(
        _layer(
            num_experts=0 if index in dense_layers else num_experts,
            top_k=top_k,
            has_shared=has_shared,
            window_tokens=window_tokens if index % 2 == 0 else None,
            scale_eighths=9 if index in wider_experts else 8,
        )
        for index in range(num_layers)
    )
    top = {
        TensorClass.EMBEDDING: vocab * HIDDEN,
        TensorClass.HEAD: vocab * HIDDEN,
        TensorClass.NORM: HIDDEN,
    }
    return Model(
        name=name,
        family="test",
        hidden=HIDDEN,
        vocab=vocab,
        expert_intermediate=WIDE,
        layers=layers,
        top_params=top,
        top_bytes={tensor_class: 2 * count for tensor_class, count in top.items()},
        dtypes={tensor_class: "bf16" for tensor_class in TensorClass},
        quantization="16bit",
        max_context_tokens=8192,
        provenance=Provenance(kind=Kind.ASSUMED, source="made up for tests", date="undated"),
    )


def _layer(
    *, num_experts: int, top_k: int, has_shared: bool, window_tokens: int | None, scale_eighths: int
) -> Layer:
    params = {TensorClass.NORM: 2 * HIDDEN, TensorClass.ATTENTION: 4 * HIDDEN * HIDDEN}
    if num_experts:
        params |= {TensorClass.ROUTER: HIDDEN * num_experts, TensorClass.EXPERT: 3 * HIDDEN * WIDE}
        if has_shared:
            params[TensorClass.SHARED_EXPERT] = 3 * HIDDEN * WIDE
    else:
        params[TensorClass.DENSE_FFN] = 3 * HIDDEN * 4 * WIDE
    sizes = {tensor_class: 2 * count for tensor_class, count in params.items()}
    if num_experts:
        sizes[TensorClass.EXPERT] = sizes[TensorClass.EXPERT] * scale_eighths // 8
    attention = Attention(
        num_heads=4,
        kv_elements_per_token=2 * HIDDEN,
        score_elements=HIDDEN,
        value_elements=HIDDEN,
        window_tokens=window_tokens,
    )
    return Layer(
        attention=attention,
        num_experts=num_experts,
        top_k=top_k if num_experts else 0,
        params=params,
        bytes=sizes,
    )


MODELS = {
    "plain": small_model("plain"),
    "dense-first-and-shared": small_model(
        "dense-first-and-shared", num_layers=4, dense_layers=(0,), has_shared=True, top_k=3
    ),
    "alternating-top-1": small_model(
        "alternating-top-1", num_layers=4, dense_layers=(0, 2), num_experts=4, top_k=1
    ),
    "windows-and-uneven-bytes": small_model(
        "windows-and-uneven-bytes", window_tokens=8, wider_experts=(1,)
    ),
    "large-vocabulary": small_model("large-vocabulary", num_layers=2, vocab=20_000, num_experts=4),
}
"""The shapes that policies have to cope with."""


def layer_of(mixer: str, ffn: str) -> Layer:
    """A layer by what it has: MIXERS before, FFNS behind."""
    params = {TensorClass.NORM: HIDDEN}
    if mixer != "none":
        params[TensorClass.ATTENTION] = 4 * HIDDEN * HIDDEN
    if "dense" in ffn:
        params[TensorClass.DENSE_FFN] = 3 * HIDDEN * 4 * WIDE
    if "experts" in ffn:
        params |= {TensorClass.ROUTER: HIDDEN * 8, TensorClass.EXPERT: 3 * HIDDEN * WIDE}
    is_moe = "experts" in ffn
    return Layer(
        attention=MIXERS[mixer][0],
        state=MIXERS[mixer][1],
        num_experts=8 if is_moe else 0,
        top_k=2 if is_moe else 0,
        params=params,
        bytes={tensor_class: 2 * count for tensor_class, count in params.items()},
    )


def model_of(name: str, *layers: Layer) -> Model:
    """A decoder of those layers, with the formats of the classes that it holds."""
    classes = {tensor_class for layer in layers for tensor_class in layer.params}
    top = {TensorClass.EMBEDDING, TensorClass.HEAD, TensorClass.NORM}
    return replace(
        small_model(name),
        layers=layers,
        dtypes={tensor_class: "bf16" for tensor_class in sorted(classes | top)},
        expert_intermediate=WIDE if TensorClass.EXPERT in classes else 0,
    )


_FULL = Attention(
    num_heads=4, kv_elements_per_token=2 * HIDDEN, score_elements=HIDDEN, value_elements=HIDDEN
)
_INDEXER = Indexer(top_k=4, key_elements=8, score_elements=16)

MIXERS: dict[str, tuple[Attention | None, State | None]] = {
    "none": (None, None),
    "weights": (None, None),
    "attention": (_FULL, None),
    "window": (replace(_FULL, window_tokens=6), None),
    "sparse": (replace(_FULL, indexer=_INDEXER), None),
    "compressed": (replace(_FULL, window_tokens=6, tokens_per_entry=4, indexer=_INDEXER), None),
    "borrowed": (replace(_FULL, keeps_kv=False), None),
    "state": (None, State(elements=4 * HIDDEN, bytes=20 * HIDDEN)),
    "convolution": (None, State(elements=0, bytes=8 * HIDDEN)),
    "both": (_FULL, State(elements=4 * HIDDEN, bytes=20 * HIDDEN)),
}
"""What may stand before a feed-forward."""

FFNS = ("none", "dense", "experts", "dense and experts")
"""What may stand behind."""

ODD_MODELS = {
    "experts-without-attention": model_of(
        "experts-without-attention", *[layer_of("none", "experts")] * 3
    ),
    "states-experts-attention": model_of(
        "states-experts-attention",
        layer_of("state", "none"),
        layer_of("none", "experts"),
        layer_of("attention", "none"),
        layer_of("none", "experts"),
    ),
    "empty-layers": model_of(
        "empty-layers",
        layer_of("none", "none"),
        layer_of("attention", "experts"),
        layer_of("none", "none"),
    ),
    "convolutions": model_of(
        "convolutions",
        layer_of("convolution", "dense"),
        layer_of("attention", "experts"),
        layer_of("convolution", "experts"),
    ),
    "compressed-and-sparse": model_of(
        "compressed-and-sparse",
        layer_of("window", "experts"),
        layer_of("compressed", "experts"),
        layer_of("sparse", "experts"),
        layer_of("borrowed", "experts"),
    ),
    "dense-beside-experts": model_of(
        "dense-beside-experts",
        layer_of("both", "dense and experts"),
        layer_of("weights", "dense"),
        layer_of("attention", "dense and experts"),
    ),
}
"""Layers that lack what a layer of most models has, or have more; each routes somewhere."""

DENSE_MODELS = {
    "dense": model_of("dense", *[layer_of("attention", "dense")] * 3),
    "states-alone": model_of("states-alone", *[layer_of("state", "none")] * 3),
    "nothing": model_of("nothing", *[layer_of("none", "none")] * 2),
    "feed-forwards-alone": model_of("feed-forwards-alone", *[layer_of("none", "dense")] * 2),
}
"""Models without experts."""


def small_machine(
    memory_bytes: float = 1e9,
    link_bytes_per_s: float = 1e9,
    *,
    overhead_ns: float = 0,
    latency_ns: float = 0,
    **parts: Any,
) -> Machine:
    """A machine of round numbers:

    GPU 100 GB/s and 1 TFLOP/s, CPU 10 GB/s and 0.1 TFLOP/s; ``overhead_ns`` for all overheads.
    """
    data = {
        "format": "rosin-machine/1",
        "name": "small",
        "description": "for tests",
        "gpu": {
            "name": "gpu",
            "memory_bytes": quantity(memory_bytes),
            "memory_bytes_per_s": quantity(100e9),
            "flops_per_s": {"bf16": quantity(1e12)},
            "launch_overhead_ns": quantity(overhead_ns),
            "kernel_ns": quantity(0),
            "serial_fraction": quantity(0),
            "context_bytes": quantity(0),
        },
        "cpu": {
            "name": "cpu",
            "cores": 8,
            "memory_bytes_per_s": quantity(10e9),
            "flops_per_s": {"bf16": quantity(0.1e12)},
            "call_overhead_ns": quantity(overhead_ns),
        },
        "link": {
            "name": "link",
            "h2d": direction(link_bytes_per_s, latency_ns),
            "d2h": direction(link_bytes_per_s, latency_ns),
        },
        "host": {
            "layer_overhead_ns": quantity(overhead_ns),
            "step_overhead_ns": quantity(overhead_ns),
        },
    }
    return parse_machine(data | parts, "the small machine")


def direction(bytes_per_s: float, latency_ns: float) -> dict[str, Any]:
    """One direction of a link of a machine file."""
    return {"bytes_per_s": quantity(bytes_per_s), "latency_ns": quantity(latency_ns)}


def quantity(value: float, kind: str = "assumed") -> dict[str, Any]:
    """A number of a machine file."""
    return SOURCE | {"value": value, "kind": kind}
