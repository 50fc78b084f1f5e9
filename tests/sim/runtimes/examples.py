"""Hosts, models and questions for tests of runtimes."""

from dataclasses import replace
from functools import cache

from sim.model.library import load_model
from sim.model.model import Model
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.host import HostGpu, RuntimeHost, Vector
from sim.runtimes.question import RuntimeQuestion

GPU = HostGpu(
    name="card", memory_bytes=24e9, bytes_per_s=1000e9, flops_per_s=100e12, link_bytes_per_s=25e9
)
DESKTOP = RuntimeHost(
    gpus=(GPU,),
    sockets=1,
    cores_per_socket=16,
    clock_hz=4.5e9,
    vector=Vector.VNNI,
    vector_bits=256,
    is_server=False,
    dram_bytes_per_s=80e9,
)
NO_GPU = replace(DESKTOP, gpus=())
SERVER = replace(DESKTOP, sockets=2, cores_per_socket=32, is_server=True, dram_bytes_per_s=300e9)


@cache
def qwen() -> Model:
    """Qwen3-30B-A3B in 4 bits: 48 layers of 128 experts."""
    return load_model("qwen3-30b-a3b", "4bit")


@cache
def deepseek() -> Model:
    """DeepSeek-V3 in 4 bits: 61 layers, the first 3 dense, attention over a compressed cache."""
    return load_model("deepseek-v3", "4bit")


def question(
    arguments: str = "-ngl 99 -cmoe",
    *,
    runtime: str = "llama.cpp",
    model: Model | None = None,
    host: RuntimeHost = DESKTOP,
    quantization: str = "Q4_K_M",
) -> RuntimeQuestion:
    """A question about Qwen3-30B-A3B on a desktop, unless said otherwise."""
    return RuntimeQuestion(
        runtime=runtime,
        arguments=read_runtime_arguments(runtime, arguments),
        model=qwen() if model is None else model,
        quantization=quantization,
        host=host,
    )
