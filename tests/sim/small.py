"""Models and machines small enough to be followed by hand."""

from typing import Any

from hwprofiles import Kind, Machine, Provenance, parse_machine
from sim.model import Attention, Layer, Model, TensorClass

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
    """A decoder of 16-bit weights. Experts of ``wider_experts`` layers take 9/8 of the bytes, as mixed GGUF files have them."""
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
    top = {TensorClass.EMBEDDING: vocab * HIDDEN, TensorClass.HEAD: vocab * HIDDEN, TensorClass.NORM: HIDDEN}
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


def _layer(*, num_experts: int, top_k: int, has_shared: bool, window_tokens: int | None, scale_eighths: int) -> Layer:
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
        num_heads=4, kv_elements_per_token=2 * HIDDEN, score_elements=HIDDEN, value_elements=HIDDEN, window_tokens=window_tokens
    )
    return Layer(attention=attention, num_experts=num_experts, top_k=top_k if num_experts else 0, params=params, bytes=sizes)


MODELS = {
    "plain": small_model("plain"),
    "dense-first-and-shared": small_model("dense-first-and-shared", num_layers=4, dense_layers=(0,), has_shared=True, top_k=3),
    "alternating-top-1": small_model("alternating-top-1", num_layers=4, dense_layers=(0, 2), num_experts=4, top_k=1),
    "windows-and-uneven-bytes": small_model("windows-and-uneven-bytes", window_tokens=8, wider_experts=(1,)),
    "large-vocabulary": small_model("large-vocabulary", num_layers=2, vocab=20_000, num_experts=4),
}
"""The shapes that policies have to cope with."""


def small_machine(
    memory_bytes: float = 1e9, link_bytes_per_s: float = 1e9, *, overhead_ns: float = 0, latency_ns: float = 0, **parts: Any
) -> Machine:
    """A machine of round numbers: GPU 100 GB/s and 1 TFLOP/s, CPU 10 GB/s and 0.1 TFLOP/s; ``overhead_ns`` for all overheads."""
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
            "h2d": {"bytes_per_s": quantity(link_bytes_per_s), "latency_ns": quantity(latency_ns)},
            "d2h": {"bytes_per_s": quantity(link_bytes_per_s), "latency_ns": quantity(latency_ns)},
        },
        "host": {"layer_overhead_ns": quantity(overhead_ns), "step_overhead_ns": quantity(overhead_ns)},
    }
    return parse_machine(data | parts, "the small machine")


def quantity(value: float, kind: str = "assumed") -> dict[str, Any]:
    """A number of a machine file."""
    return SOURCE | {"value": value, "kind": kind}
