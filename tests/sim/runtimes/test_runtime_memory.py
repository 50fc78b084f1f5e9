"""Memory by device as programs print it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import Kind, Provenance
from hwprofiles.units import MIB
from sim.model.importers import model_from_config
from sim.model.library import load_model
from sim.model.model import Model
from sim.runtimes.kv import kv_element_bytes, mla_mode
from sim.runtimes.memory import (
    DeviceMemory,
    kv_bytes_by_layer,
    memory_of,
    overfull,
    reserved_tokens,
)
from sim.runtimes.placing import placement_of
from sim.runtimes.predict import predict
from sim.runtimes.question import NEWEST_BUILD
from tests.sim.runtimes.examples import DESKTOP, GPU, NO_GPU, deepseek, question


def _memory(
    line: str, model: Model, runtime: str = "llama.cpp", gpus: int = 1
) -> dict[str, DeviceMemory]:
    asked = question(line, runtime=runtime, model=model, host=replace(DESKTOP, gpus=(GPU,) * gpus))
    return memory_of(asked, placement_of(asked))


def _imported(config: Mapping[str, object]) -> Model:
    """Return the model of a configuration in 16 bit with room for 65,536 tokens."""
    common = {"max_position_embeddings": 65536, "torch_dtype": "bfloat16"}
    provenance = Provenance(kind=Kind.ASSUMED, source="test", date="2026-12-01")
    return model_from_config(dict(config) | common, name="printed", provenance=provenance)


@pytest.mark.parametrize(
    ("line", "gpu_kv", "host_kv"),
    [
        ("-ngl 99 -ncmoe 20 -c 32768", 3072, 0),
        ("-ngl 24 -c 32768", 1472, 1600),
        ("-ngl 99 -cmoe -c 32768", 3072, 0),
    ],
)
def test_kv_cache_as_printed(line: str, gpu_kv: float, host_kv: float) -> None:
    """llama-fit-params printed these MiB for Qwen3-30B-A3B at 32,768 tokens in f16."""
    memory = _memory(line, load_model("qwen3-30b-a3b", "4bit"))
    assert memory["gpu0"].kv == pytest.approx(gpu_kv * MIB)
    assert memory["host"].kv == pytest.approx(host_kv * MIB)


@pytest.mark.parametrize(("kind", "mib"), [("f16", 2196.0), ("q8_0", 1166.6)])
def test_compressed_cache_as_printed(kind: str, mib: float) -> None:
    """ik_llama.cpp printed these MiB for DeepSeek-V3 at 32,768 tokens with -mla 3 (discussion 258)."""
    line = f"-c 32768 -ctk {kind} -mla 3 -fa -amb 512 -fmoe -ngl 63 -ot exps=CPU"
    memory = _memory(line, load_model("deepseek-v3", "4bit"), "ik_llama.cpp")
    assert memory["gpu0"].kv / MIB == pytest.approx(mib, abs=0.1)


@pytest.mark.parametrize(
    ("line", "printed_bytes"),
    [
        ("-c 65536 -ctk q8_0 -mla 2 -fa -amb 512 -ngl 63 -ot exps=CPU", 6_376_390_656),
        ("-c 32768 -ctk q8_0 -mla 3 -fa -amb 512 -fmoe -ngl 63 -ot exps=CPU", 3_591_372_800),
        ("-c 32768 -ctk f16 -mla 3 -fa -amb 512 -fmoe -ngl 63 -ot exps=CPU -rtr", 3_557_818_368),
    ],
)
def test_expanded_keys_and_values_as_printed(line: str, printed_bytes: float) -> None:
    """ik_llama.cpp printed these bytes of buffers for DeepSeek-V3 in 2025 (discussion 258)."""
    asked = replace(question(line, runtime="ik_llama.cpp", model=deepseek()), build=300)
    memory = memory_of(asked, placement_of(asked))["gpu0"]
    assert memory.compute == pytest.approx(printed_bytes, rel=0.04)


@pytest.mark.parametrize(
    ("line", "build", "heads_at_once", "heads_of_copies"),
    [
        ("", 2311, 128, 128),
        ("", 2312, 8, 8),
        ("-amb 512", 2311, 16, 16),
        ("-amb 512", NEWEST_BUILD, 16, 16),
        ("-amb 512", 1210, 16, 128),
        ("-amb 0", NEWEST_BUILD, 128, 128),
        ("-amb 1", NEWEST_BUILD, 4, 4),
        ("-amb 100000", NEWEST_BUILD, 128, 128),
    ],
)
def test_how_many_heads_are_expanded_at_once(
    line: str, build: int, heads_at_once: int, heads_of_copies: int
) -> None:
    """As many as -amb has room for, 256 MiB since pull request 2312; copies follow since 1211.

    DeepSeek-V3 at 32,768 tokens: 32 MiB a head in 32 bit, 20 MiB of copies in 16.
    """
    whole = f"-mla 3 -fa -c 32768 -ngl 63 -ot exps=CPU -rtr {line}"
    asked = replace(question(whole, runtime="ik_llama.cpp", model=deepseek()), build=build)
    # Queries before and after their rotation, and the mask in 16 bit.
    activations = 512 * (2 * 128 * 512 * 4 + 32768 * 2)
    memory = memory_of(asked, placement_of(asked))["gpu0"]
    expanded = (32 * heads_at_once + 20 * heads_of_copies) * MIB
    assert memory.compute == pytest.approx(activations + expanded, rel=1e-6)


@pytest.mark.parametrize(
    ("line", "runtime", "mib"),
    [
        ("-c 32768 -fa -rtr -fmoe -ngl 99 -ot exps=CPU", "ik_llama.cpp", 312.8),
        ("-c 32768 -fa -rtr -fmoe -ngl 99 -ot exps=CPU -b 4096 -ub 4096", "ik_llama.cpp", 2502.0),
    ],
)
def test_buffers_of_the_head_as_printed(line: str, runtime: str, mib: float) -> None:
    """The device of the head has a buffer for logits:

    MiB printed for Qwen3-235B-A22B (discussions 357 and 491).
    """
    memory = _memory(line, load_model("qwen3-235b-a22b", "4bit"), runtime)
    assert memory["gpu0"].compute / MIB == pytest.approx(mib, rel=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Printed:
    """Buffers in MiB that llama-fit-params (0c1e57098) printed: on the GPU with all layers and their
    experts on it, by tokens of a micro-batch and room of the cache, with -fa on.
    """

    hidden: int = 2048
    num_experts: int = 128
    top_k: int = 8
    width: int = 768
    vocab: int = 32768
    small: int
    long: int
    wide: int
    host: int


@pytest.mark.parametrize(
    "printed",
    [
        _Printed(small=88, long=148, wide=1184, host=576),
        _Printed(hidden=4096, width=1536, small=172, long=232, wide=1856, host=640),
        _Printed(
            hidden=4096,
            num_experts=8,
            top_k=2,
            width=14336,
            small=196,
            long=256,
            wide=2048,
            host=640,
        ),
        _Printed(top_k=4, small=68, long=108, wide=864, host=576),
        _Printed(num_experts=16, top_k=2, width=4096, small=68, long=128, wide=1024, host=576),
        _Printed(
            hidden=4096,
            num_experts=64,
            top_k=6,
            width=1408,
            small=125,
            long=185,
            wide=1484,
            host=640,
        ),
        _Printed(vocab=150016, small=297, long=297, wide=2376, host=576),
        _Printed(num_experts=16, top_k=1, width=2048, small=68, long=88, wide=704, host=576),
    ],
)
def test_buffers_of_a_micro_batch_as_printed(printed: _Printed) -> None:
    """512 tokens with room for 4,096 and 65,536, and 4,096 with 65,536: at most 2 % less than
    printed on the GPU, at most 15 % more, and on the host what is printed.
    """
    heads = {"num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128}
    config = heads | {
        "model_type": "qwen3_moe",
        "hidden_size": printed.hidden,
        "num_hidden_layers": 2,
        "num_experts": printed.num_experts,
        "num_experts_per_tok": printed.top_k,
        "moe_intermediate_size": printed.width,
        "intermediate_size": printed.width,
        "vocab_size": printed.vocab,
    }
    model = _imported(config)
    for tokens, room, mib in (
        (512, 4096, printed.small),
        (512, 65536, printed.long),
        (4096, 65536, printed.wide),
    ):
        found = _memory(f"-ngl 99 -fa on -b 4096 -ub {tokens} -c {room}", model)
        assert 0.98 < found["gpu0"].compute / MIB / mib < 1.15
    assert found["host"].compute / MIB == pytest.approx(printed.host, rel=0.001)


def test_inputs_of_several_gpus_as_printed() -> None:
    """All layers on two GPUs: 228 and 244 MiB printed for 512 tokens with room for 32,768, where one
    GPU would need 116, and 148 on the host. An override takes copies of masks away; hidden states are handed over still.
    """
    model = load_model("qwen3-30b-a3b", "4bit")
    # The file had a vocabulary of 32,768, whose logits fit what layers need.
    model = replace(model, vocab=32768)
    found = _memory("-ngl 99 -ts 1,1 -fa on -c 32768", model, gpus=2)
    assert [found[name].compute / MIB for name in ("gpu0", "gpu1")] == pytest.approx(
        [244, 244], rel=0.001
    )
    assert found["host"].compute / MIB == pytest.approx(148, rel=0.001)
    once = _memory("-ngl 99 -ts 1,1 -fa on -c 32768 -ot no_such_tensor=CPU", model, gpus=2)
    assert once["gpu0"].compute / MIB == pytest.approx(116 + 16, rel=0.001)


@pytest.mark.parametrize(
    ("name", "line", "gpus", "mib"),
    [
        ("qwen3-235b-a22b", "-ngl 99 -cmoe -nopo -c 32768", 1, 176),
        ("qwen3-235b-a22b", "-ngl 99 -ncmoe 50 -nopo -ub 256 -c 32768", 1, 88),
        ("mixtral-8x7b", "-ngl 99 -ncmoe 13 -nopo -c 32768", 1, 208),
        ("mixtral-8x7b", "-ngl 99 -ncmoe 13 -nopo -c 16384", 1, 192),
        ("qwen3-30b-a3b", "-ngl 99 -ts 1,1 -cmoe -nopo -c 32768", 2, 108),
        ("qwen3-235b-a22b", "-ngl 86 -cmoe -nopo -ub 256 -c 32768", 1, 104),
        ("qwen3-235b-a22b", "-ngl 54 -cmoe -ub 1024 -c 65536", 1, 480),
    ],
)
def test_buffers_of_a_host_that_computes_as_printed(
    name: str, line: str, gpus: int, mib: float
) -> None:
    """Experts that no GPU copies are computed on the host, which needs room for their results."""
    found = _memory(f"{line} -fa on", load_model(name, "4bit"), gpus=gpus)["host"].compute
    assert found / MIB == pytest.approx(mib, rel=0.005)


@pytest.mark.parametrize(
    ("line", "gpus", "mib"),
    [
        (r"-ngl 99 -ot ffn_(up|gate|down)\.weight=CPU -nopo -c 16384", 1, 384),
        (r"-ngl 99 -ts 1,1 -ot ffn_(up|gate|down)\.weight=CPU -nopo -c 16384", 2, 416),
        ("-ngl 20 -nopo -c 16384", 1, 480),
        ("-ngl 99 -ts 1,1 -c 16384", 2, 416),
    ],
)
def test_buffers_of_a_host_with_dense_layers_as_printed(line: str, gpus: int, mib: float) -> None:
    """Dense feed-forwards that no GPU copies need room for their products, as experts do."""
    config = {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "intermediate_size": 12288,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 32768,
    }
    model = _imported(config)
    found = _memory(f"{line} -fa on -b 4096 -ub 2048", model, gpus=gpus)["host"].compute
    assert found / MIB == pytest.approx(mib, rel=0.001)
    copied = _memory(f"{line.replace('-nopo', '')} -fa on -b 4096 -ub 2048", model, gpus=gpus)
    assert copied["host"].compute <= found


def test_experts_that_a_gpu_copies_need_no_room_on_the_host() -> None:
    """Beside the mask only the hidden states that are handed over; below 32 tokens all is computed."""
    model = load_model("qwen3-235b-a22b", "4bit")
    copied = _memory("-ngl 99 -cmoe -c 32768 -fa on", model)["host"].compute
    assert copied / MIB == pytest.approx(48, rel=0.001)
    few = [_memory(f"-ngl 99 -cmoe -c 32768 -fa on -ub 16{more}", model) for more in ("", " -nopo")]
    assert few[0] == few[1]


def test_scores_without_fused_attention_as_printed() -> None:
    """The mask in 32 bit and scores of all heads: 2,406 MiB printed on a computer without a GPU."""
    asked = question(
        "-ngl 0 -fa off -ub 512 -c 36864", model=load_model("qwen3-30b-a3b", "4bit"), host=NO_GPU
    )
    found = memory_of(asked, placement_of(asked))["host"].compute
    assert found / MIB == pytest.approx(2406, rel=0.01)


@given(st.integers(1, 100_000), st.integers(0, 100_000))
@settings(max_examples=25)
def test_window_bounds_the_cache(tokens: int, more: int) -> None:
    """Layers with a window of 128 tokens keep the window and a micro-batch, whatever -c says; the
    other 12 keep every token, in whole blocks of 256.
    """
    model = load_model("gpt-oss-20b")
    for context in (tokens, tokens + more):
        kept = -(-context // 256) * 256
        windows = min(kept, 128 + 512)
        found = _memory(f"-ngl 99 -c {context}", model)["gpu0"].kv
        assert found == pytest.approx(12 * (kept + windows) * 2 * 8 * 64 * 2)


def test_experts_in_another_format_on_the_cpu() -> None:
    """A model in bf16 whose CPU experts KTransformers keeps in INT4 takes about 128 GB of the host:

    kvcache-ai/ktransformers issue 1678, Qwen3-235B. 32 experts a layer do not fit 24 GB, 1 does.
    """
    model = load_model("qwen3-235b-a22b", "BF16")
    few, many = (
        _memory_of(f"--kt-method AMXINT4 --kt-num-gpu-experts {count}", model) for count in (1, 32)
    )
    assert few[0]["host"].weights == pytest.approx(128e9, rel=0.12)
    assert few[1] == {}
    assert many[1]["gpu0"] > 90e9
    own = _memory_of("--kt-method BF16 --kt-num-gpu-experts 1", model)
    assert own[0]["gpu0"].weights == few[0]["gpu0"].weights
    assert own[0]["host"].weights > 3.5 * few[0]["host"].weights


def _memory_of(line: str, model: Model) -> tuple[Mapping[str, DeviceMemory], Mapping[str, float]]:
    """Memory by device, and by how much GPUs are too small."""
    asked = question(line, runtime="ktransformers", model=model, quantization="BF16")
    memory = predict(asked).memory
    return memory, overfull(asked, memory)


def test_a_cache_that_is_not_compressed() -> None:
    """With -mla 0 ik_llama.cpp caches keys and values of all heads: 16 of 192 + 128 in 27 layers."""
    model = load_model("deepseek-v2-lite", "4bit")
    line = "-c 32768 -fa -fmoe -ngl 99 -ot exps=CPU -mla"
    whole = _memory(f"{line} 0", model, "ik_llama.cpp")["gpu0"].kv
    assert whole == 27 * 16 * (192 + 128) * 2 * 32768
    compressed = _memory(f"{line} 3", model, "ik_llama.cpp")["gpu0"].kv
    assert compressed == 27 * 576 * 2 * 32768


@pytest.mark.parametrize(
    ("runtime", "line", "build", "mode"),
    [
        ("ik_llama.cpp", "-fa", 942, 0),
        ("ik_llama.cpp", "-fa", 943, 3),
        ("ik_llama.cpp", "-fa", NEWEST_BUILD, 3),
        ("ik_llama.cpp", "-fa -mla 1", 942, 1),
        ("llama.cpp", "-fa", 12800, 0),
        ("llama.cpp", "-fa", 12801, 1),
    ],
)
def test_what_is_cached_depends_on_the_build(
    runtime: str, line: str, build: int, mode: int
) -> None:
    """Where -mla is left out, ik_llama.cpp compresses since its pull request 943, llama.cpp since 12801."""
    asked = replace(question(line, runtime=runtime, model=deepseek()), build=build)
    assert mla_mode(asked) == mode
    latent = kv_element_bytes(asked) * 61 * 576
    kept = sum(kv_bytes_by_layer(asked)) / reserved_tokens(asked)
    assert (kept == pytest.approx(latent)) == (mode != 0)
