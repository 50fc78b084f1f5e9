"""Plans for programs that copy weights to the GPU at every pass: vLLM and accelerate.

They have one choice: how many bytes stay in host memory. No speed is predicted for them: no
published rows were fitted. A pass takes at least as long as the link needs for the bytes it reads.
Semantics are those of vLLM 0.32 (config/offload.py) and accelerate 1.15 (device_map).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwprofiles import InputError
from hwprofiles.units import GIB, format_bytes
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from sim.model.model import Model
from sim.runtimes.host import HostGpu, RuntimeHost
from sim.runtimes.memory import ACTIVATION_BYTES, ACTIVATIONS_PER_HIDDEN

MOST_PROMPT_TOKENS = 2048
"""Tokens of a prompt that are computed at once, vLLM's default for one user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """What is to be shared out between one GPU and the host."""

    model: Model
    model_name: str
    host: RuntimeHost
    load: RuntimeLoad
    limits: RuntimeLimits
    host_memory_bytes: float | None = None

    @property
    def gpu(self) -> HostGpu:
        """The GPU. Raises InputError where there is none."""
        if not self.host.gpus:
            raise InputError("the machine has no GPU, which these programs need")
        return self.host.gpus[0]

    def check_host(self, num_bytes: float) -> None:
        """Raise InputError where the host has no room for so many bytes of weights."""
        if self.host_memory_bytes is None:
            return
        missing = num_bytes - (self.host_memory_bytes - self.limits.reserve_ram_bytes)
        if missing > 0:
            raise InputError(
                f"{format_bytes(round(num_bytes))} of weights do not fit the host, "
                f"{format_bytes(round(missing))} are missing"
            )

    @property
    def room_bytes(self) -> float:
        """Bytes of GPU memory for weights: what margin, KV cache and activations leave."""
        kv = self.model.kv_bytes(self.load.cache_tokens)
        tokens = min(self.load.prompt_tokens, MOST_PROMPT_TOKENS)
        activations = tokens * ACTIVATIONS_PER_HIDDEN * self.model.hidden * ACTIVATION_BYTES
        return self.gpu.memory_bytes - self.limits.margin_vram_bytes - kv - activations


def vllm_text(plan: Streamed) -> str:
    """Return vLLM's command: ``--cpu-offload-gb`` counts GiB, of experts alone where those suffice.

    Raises InputError where not even the rest fits, or the host is too small.
    """
    missing = max(0.0, plan.model.total_bytes - plan.room_bytes)
    plan.check_host(missing)
    words = ["vllm", "serve", plan.model_name, "--max-model-len", str(plan.load.cache_tokens)]
    if missing:
        # Rounded up: with less, the rest would not fit.
        words += ["--cpu-offload-gb", str(math.ceil(missing / GIB))]
        experts = plan.model.total_bytes - plan.model.non_expert_bytes
        if missing > plan.model.total_bytes:
            raise InputError("the KV cache alone does not fit the GPU")
        if missing <= experts:
            words += ["--cpu-offload-params", "experts"]
    return " ".join(words) + "\n"


def accelerate_text(plan: Streamed) -> str:
    """Return a device map as JSON: whole layers, the last ones in host memory.

    Raises InputError where not even embedding and head fit the GPU, or the host is too small.
    """
    free = plan.room_bytes - sum(plan.model.top_bytes.values())
    if free < 0:
        raise InputError("embedding and head alone do not fit the GPU")
    devices: dict[str, int | str] = {"model.embed_tokens": 0, "model.rotary_emb": 0}
    # One layer from the host lies on the GPU while it runs.
    largest = max(_layer_bytes(plan.model, index) for index in range(plan.model.num_layers))
    is_full = plan.model.total_bytes > plan.room_bytes
    free -= largest if is_full else 0
    for index in range(plan.model.num_layers):
        free -= _layer_bytes(plan.model, index)
        devices[_layer(index)] = 0 if free >= 0 else "cpu"
    on_host = [index for index in range(plan.model.num_layers) if devices[_layer(index)] == "cpu"]
    plan.check_host(sum(_layer_bytes(plan.model, index) for index in on_host))
    devices |= {"model.norm": 0, "lm_head": 0}
    return json.dumps(devices, indent=1) + "\n"


def _layer(index: int) -> str:
    return f"model.layers.{index}"


def _layer_bytes(model: Model, index: int) -> int:
    layer = model.layers[index]
    return layer.dense_bytes + layer.num_experts * layer.expert_bytes


STREAMED: Mapping[str, Callable[[Streamed], str]] = {
    "vllm": vllm_text,
    "accelerate": accelerate_text,
}
"""Texts by the program's name."""
