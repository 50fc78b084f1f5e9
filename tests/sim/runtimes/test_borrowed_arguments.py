"""Arguments of vLLM, accelerate and exllamav3: what they mean, and what is refused."""

import pytest

from hwprofiles import InputError
from hwprofiles.units import GIB
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.exllamav3 import Exl3Arguments
from sim.runtimes.placing import placement_of
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import stream_tokens
from sim.runtimes.vllm import VllmArguments
from tests.sim.runtimes.examples import DESKTOP, qwen


def _question(runtime: str, line: str) -> RuntimeQuestion:
    return RuntimeQuestion(
        runtime=runtime,
        arguments=read_runtime_arguments(runtime, line),
        model=qwen(),
        quantization="Q4_K_M",
        host=DESKTOP,
    )


def test_vllm_flags() -> None:
    """GiB of experts, and the chunk of a prompt."""
    line = "--cpu-offload-gb 4 --cpu-offload-params experts --max-num-batched-tokens 8192"
    assert read_runtime_arguments("vllm", line) == VllmArguments(
        offload_bytes=4 * GIB, is_experts_alone=True, chunk_tokens=8192
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "no JSON"),
        ("[]", "a JSON object"),
        ('{"model.layers.0": "disk"}', "only one GPU"),
        ('{"model.layers.0.mlp": 0}', "only whole layers"),
        (
            '{"model.layers.0": 0, "model.layers.2": 0}',
            "layer 1 has no device, though layer 2 has one",
        ),
        ('{"lm_head": "cpu"}', "only layers are priced in host memory"),
    ],
)
def test_device_maps_that_are_refused(text: str, message: str) -> None:
    """What is not priced is said in one line."""
    with pytest.raises(InputError, match=message):
        read_runtime_arguments("accelerate", text)


def test_a_map_of_another_model_is_refused() -> None:
    """The number of layers must be the model's."""
    with pytest.raises(InputError, match="names 1 layers, qwen3-30b-a3b has 48"):
        placement_of(_question("accelerate", '{"model.layers.0": 0}'))


def test_exllamav3_flags() -> None:
    """Layers on the CPU, experts of every layer, threads."""
    assert read_runtime_arguments("exllamav3", "-mcl 3 -mct 8 -cs 8192") == Exl3Arguments(
        cpu_layers=3, threads=8, context_tokens=8192
    )


@pytest.mark.parametrize(("gigabytes", "tokens"), [(50, 16), (25, 16), (12.5, 32)])
def test_exllamav3_copies_prompts_from_a_length_on(gigabytes: float, tokens: int) -> None:
    """The slower the link, the longer a prompt must be (moe_cpu_host.py)."""
    assert stream_tokens(gigabytes * 1e9) == tokens
