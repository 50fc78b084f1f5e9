"""Arguments of every runtime, written and read back: whatever a plan may set means the same."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from planner.export.accelerate import device_map_words
from planner.export.exllamav3 import exl3_words
from planner.export.ktransformers import kt_words
from planner.export.llama_cpp.arguments import llama_environment, llama_words
from planner.export.runtime_command import RuntimeCommand, figures
from planner.export.runtimes import WRITERS, runtime_text
from planner.export.vllm import vllm_words
from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.exllamav3.arguments import Exl3Arguments
from sim.runtimes.ktransformers.arguments import CPU_FORMATS, STRATEGIES, KtArguments
from sim.runtimes.llama_cpp import CpuExperts, LlamaArguments, Override
from sim.runtimes.llama_cpp.arguments import KV_TYPES
from sim.runtimes.vllm.arguments import VllmArguments

COUNTS = st.integers(1, 10**6)
PATTERNS = st.sampled_from([r"blk\.(1|2)\.ffn_.*_exps", "exps", r"blk.1.ffn", "attn", r"\.[0-9]+$"])
PLACEMENTS = st.builds(Override, pattern=PATTERNS, device=st.integers(-1, 7)) | st.builds(
    CpuExperts, num_layers=st.none() | st.integers(0, 99)
)
SPLIT_MODES = ("layer", "none", "row", "tensor")
SHARES = st.lists(st.integers(0, 9) | st.floats(0, 1e6), min_size=1, max_size=4)


@st.composite
def llama_arguments(draw: st.DrawFn) -> LlamaArguments:
    """What plans set of llama.cpp; ik_llama.cpp counts layers of -ncmoe from the end."""
    is_ik = draw(st.booleans())
    placements = tuple(
        CpuExperts(num_layers=item.num_layers, is_from_end=is_ik and item.num_layers is not None)
        if isinstance(item, CpuExperts)
        else item
        for item in draw(st.lists(PLACEMENTS, max_size=4))
    )
    split = draw(st.just([]) | SHARES.filter(lambda shares: sum(shares) > 0))
    either = {"is_fit_asked": draw(st.booleans())} if is_ik else {"is_fitted": draw(st.booleans())}
    own: dict[str, Any] = (
        {
            "mla": draw(st.none() | st.integers(0, 3)),
            "attention_buffer_mib": draw(st.none() | COUNTS),
            "offload_operations": tuple(
                draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 1)), max_size=3))
            ),
        }
        if is_ik
        else {"is_op_offload": draw(st.booleans()), "expert_cache_mib": draw(st.integers(0, 9999))}
    )
    return LlamaArguments(
        runtime="ik_llama.cpp" if is_ik else "llama.cpp",
        gpu_layers=draw(st.none() | st.integers(0, 999)),
        placements=placements,
        tensor_split=tuple(map(float, split)),
        split_mode=draw(st.sampled_from(("layer", "none") if is_ik else SPLIT_MODES)),
        main_gpu=draw(st.integers(0, 7)),
        devices=draw(st.none() | st.lists(st.integers(0, 7), max_size=3).map(tuple)),
        is_kv_offloaded=draw(st.booleans()),
        batch_tokens=draw(COUNTS),
        micro_batch_tokens=draw(COUNTS),
        threads=draw(st.none() | COUNTS),
        batch_threads=draw(st.none() | COUNTS),
        key_type=draw(st.sampled_from(KV_TYPES)),
        value_type=draw(st.sampled_from(KV_TYPES)),
        is_flash_attention=draw(st.none() | st.booleans()),
        offload_min_tokens=draw(st.none() | COUNTS),
        context_tokens=draw(st.none() | COUNTS),
        **either,
        **own,
    )


@st.composite
def vllm_arguments(draw: st.DrawFn) -> VllmArguments:
    """Either bytes or groups of layers in host memory; names of parameters only with one of them."""
    common = {
        "memory_fraction": draw(st.none() | st.floats(0.01, 1)),
        "chunk_tokens": draw(COUNTS),
        "context_tokens": draw(st.none() | COUNTS),
    }
    offload_bytes = draw(st.just(0.0) | st.floats(1e6, 1e12))
    group_size = 0 if offload_bytes else draw(st.integers(0, 16))
    is_alone = draw(st.booleans()) and bool(offload_bytes or group_size)
    groups = (
        {
            "num_in_group": draw(st.integers(1, group_size)),
            "prefetch_step": draw(st.integers(1, 4)),
        }
        if group_size
        else {}
    )
    return VllmArguments(
        offload_bytes=offload_bytes,
        group_size=group_size,
        is_experts_alone=is_alone,
        **groups,
        **common,
    )


def _command(runtime: str, words: tuple[str, ...], environment: dict[str, str]) -> RuntimeCommand:
    return RuntimeCommand(
        runtime=runtime, model_name="m", model_words=(), words=words, environment=environment
    )


def _again(runtime: str, words: tuple[str, ...], environment: dict[str, str]) -> Any:
    """The arguments that the words mean, after they were a line."""
    line = _command(runtime, words, environment).line("").strip()
    return read_runtime_arguments(runtime, line)


@given(llama_arguments())
def test_llama_cpp(arguments: LlamaArguments) -> None:
    """Placements in their order, splits to the last digit, switches either way."""
    words = llama_words(arguments)
    environment = dict(llama_environment(arguments))
    assert _again(arguments.runtime, words, environment) == arguments


@given(arguments=llama_arguments(), form=st.sampled_from(["preset", "env", "bench"]))
def test_other_forms_of_llama_cpp(arguments: LlamaArguments, form: str) -> None:
    """What a form says is what the arguments say; only what it has no word for is its own."""
    if arguments.is_ik:
        return
    words = llama_words(arguments)
    command = _command("llama.cpp", words, dict(llama_environment(arguments)))
    try:
        text = runtime_text(form, command)
    except InputError as error:
        assert "export `form` args" in str(error)
        return
    again = read_runtime_arguments("llama.cpp", WRITERS["llama.cpp"].arguments_in(form, text))
    unsaid = {
        "preset": {"offload_min_tokens"},
        "env": {"batch_threads", "is_op_offload", "offload_min_tokens"},
        "bench": {"context_tokens", "batch_threads", "is_fitted", "ignored"},
    }[form]
    for name in {item.name for item in fields(LlamaArguments)} - unsaid:
        assert getattr(again, name) == getattr(arguments, name), (name, text)


@given(vllm_arguments())
def test_vllm(arguments: VllmArguments) -> None:
    """Bytes and shares to the last digit."""
    assert _again("vllm", vllm_words(arguments), {}) == arguments


@given(
    st.builds(
        KtArguments,
        gpu_experts=st.integers(0, 512),
        method=st.none() | st.sampled_from(sorted(CPU_FORMATS)),
        threads=st.none() | COUNTS,
        thread_pools=st.none() | COUNTS,
        deferred_experts=st.integers(0, 64),
        gpu_prefill_tokens=st.none() | COUNTS,
        strategy=st.sampled_from(STRATEGIES),
        chunk_tokens=st.none() | COUNTS,
        context_tokens=st.none() | COUNTS,
    ),
    st.none() | st.floats(0, 1),
)
def test_ktransformers(arguments: KtArguments, share: float | None) -> None:
    """A share of the experts stands for their number."""
    assert _again("ktransformers", kt_words(arguments), {}) == arguments
    if share is not None:
        stated = KtArguments(gpu_experts_fraction=share)
        assert _again("ktransformers", kt_words(stated), {}) == stated


@given(
    st.builds(
        Exl3Arguments,
        cpu_layers=st.integers(0, 99),
        split_experts=st.integers(0, 512),
        threads=st.none() | COUNTS,
        chunk_tokens=COUNTS,
        context_tokens=st.none() | COUNTS,
    )
)
def test_exllamav3(arguments: Exl3Arguments) -> None:
    """Every flag that a plan sets."""
    assert _again("exllamav3", exl3_words(arguments), {}) == arguments


@given(num_layers=st.integers(1, 100), data=st.data())
def test_accelerate(num_layers: int, data: st.DataObject) -> None:
    """Any set of layers in host memory; as one line and as a file, a module a line."""
    hosts = data.draw(st.sets(st.integers(0, num_layers - 1)))
    arguments = AccelerateArguments(host_layers=tuple(sorted(hosts)), num_layers=num_layers)
    words = device_map_words(arguments)
    assert _again("accelerate", words, {}) == arguments
    text = runtime_text("args", _command("accelerate", words, {}))
    assert json.loads(text) == json.loads(words[0])
    line = WRITERS["accelerate"].arguments_in("args", text)
    assert read_runtime_arguments("accelerate", line) == arguments


@given(st.floats(allow_nan=False) | st.integers(-(2**53), 2**53))
def test_numbers_read_back_exactly(number: float) -> None:
    """Whole ones without a point."""
    assert float(figures(number)) == number
    if number == pytest.approx(0, abs=1e15) and number == int(number):
        assert "." not in figures(number)
