"""Laws of predicted speeds that hold for any model, host and line of arguments."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.model.model import Model
from sim.runtimes.host import RuntimeHost
from sim.runtimes.llama_cpp.overrides import EXPERTS
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of
from sim.runtimes.predict import predict, seconds_of
from sim.runtimes.question import RuntimeQuestion
from tests.sim.runtimes.drawn import hosts, llama_lines, model_of, models
from tests.sim.runtimes.examples import DESKTOP, GPU, SERVER, question

ROUNDING = 1e-9


def _seconds(question: RuntimeQuestion) -> tuple[float, float]:
    """Seconds of a decoded token and of the prompt."""
    decode, prompt = seconds_of(question)
    return float(decode.total), float(prompt.total)


def _scaled(host: RuntimeHost, factor: float) -> RuntimeHost:
    """The host with every rate as many times as high."""
    gpus = tuple(
        replace(
            gpu,
            bytes_per_s=gpu.bytes_per_s * factor,
            flops_per_s=gpu.flops_per_s * factor,
            link_bytes_per_s=gpu.link_bytes_per_s * factor,
        )
        for gpu in host.gpus
    )
    assert host.dram_bytes_per_s is not None
    return replace(
        host,
        gpus=gpus,
        clock_hz=host.clock_hz * factor,
        dram_bytes_per_s=host.dram_bytes_per_s * factor,
    )


OTHERS = {
    "vllm": st.floats(0, 60).map("--cpu-offload-gb {:.3f}".format),
    "exllamav3": st.tuples(st.integers(0, 70), st.integers(0, 128)).map(
        lambda pair: f"-mcl {pair[0]} -mcs {pair[1]}"
    ),
    "ktransformers": st.integers(0, 128).map("--kt-num-gpu-experts {}".format),
}


@st.composite
def questions(draw: st.DrawFn) -> RuntimeQuestion:
    """Any of four programs, on a host with a GPU that its arguments may overfill."""
    runtime = draw(st.sampled_from(("llama.cpp", *OTHERS)))
    line = draw(llama_lines() if runtime == "llama.cpp" else OTHERS[runtime])
    asked = question(line, runtime=runtime, model=draw(models), host=draw(hosts(1, 2)))
    return replace(
        asked,
        context_tokens=draw(st.integers(1, 50_000)),
        prompt_tokens=draw(st.integers(1, 5000)),
    )


@given(questions(), st.floats(1, 20))
@settings(max_examples=40)
def test_a_machine_faster_throughout(asked: RuntimeQuestion, factor: float) -> None:
    """Every rate k times as high: never slower, and never more than k times as fast, as launches and
    crossings take what they take.
    """
    for usual, fast in zip(
        _seconds(asked), _seconds(replace(asked, host=_scaled(asked.host, factor))), strict=True
    ):
        assert usual / factor * (1 - ROUNDING) <= fast <= usual * (1 + ROUNDING)


@given(questions())
@settings(max_examples=15)
def test_intervals_hold_what_is_predicted(asked: RuntimeQuestion) -> None:
    """The speed lies within its interval, is tokens over its parts' time, and names a limit."""
    found = predict(asked)
    for speed, tokens in ((found.decode, 1), (found.prefill, asked.prompt_tokens)):
        assert 0 < speed.low_tokens_per_s < speed.tokens_per_s < speed.high_tokens_per_s
        assert speed.seconds[speed.limit] == max(speed.seconds.values())
        assert min(speed.seconds.values()) >= 0
        assert tokens / speed.tokens_per_s >= max(speed.seconds.values()) * (1 - ROUNDING)


@given(questions(), st.integers(1, 5000))
@settings(max_examples=40)
def test_a_longer_prompt_takes_longer(asked: RuntimeQuestion, more: int) -> None:
    """Each token more is read on both sides of every threshold; decoding does not know of it."""
    short = _seconds(asked)
    long = _seconds(replace(asked, prompt_tokens=asked.prompt_tokens + more))
    assert long[0] == short[0]
    assert long[1] >= short[1] * (1 - ROUNDING)


@given(questions(), st.integers(1, 50_000))
@settings(max_examples=40)
def test_a_longer_context_is_never_read_faster(asked: RuntimeQuestion, more: int) -> None:
    """Whatever the program and wherever the cache lies."""
    assume("-c " not in f"{asked.arguments}")
    deep = replace(asked, context_tokens=asked.context_tokens + more)
    # What the fit places depends on the room for the cache, so here arguments place.
    if asked.runtime == "llama.cpp" and getattr(asked.arguments, "uses_fit", False):
        return
    assert _seconds(deep)[0] >= _seconds(asked)[0] * (1 - ROUNDING)


FEWER_ON_GPU = {
    "vllm": "--cpu-offload-gb {}",
    "exllamav3 layers": "-mcl {}",
    "exllamav3 experts": "-mcs {}",
    "llama.cpp": "-ngl 99 -ncmoe {}",
}


@given(
    st.sampled_from(sorted(FEWER_ON_GPU)),
    st.sampled_from(("qwen3-30b-a3b", "deepseek-v2-lite", "gpt-oss-20b", "mixtral-8x7b")),
    st.integers(0, 60),
    st.integers(1, 20),
)
@settings(max_examples=40)
def test_weights_in_host_memory_never_help_decoding(
    way: str, name: str, count: int, more: int
) -> None:
    """Whatever a program counts: more of it on the host is no faster, on cards that hold all."""
    host = replace(DESKTOP, gpus=(replace(GPU, memory_bytes=200e9),))
    few, many = (
        _seconds(
            question(
                FEWER_ON_GPU[way].format(each),
                runtime=way.split()[0],
                model=model_of(name),
                host=host,
            )
        )[0]
        for each in (count, count + more)
    )
    assert many >= few * (1 - ROUNDING)


@given(models, st.integers(1, 63), st.integers(1, 63), st.booleans())
@settings(max_examples=40)
def test_more_threads_are_never_slower(
    model: Model, threads: int, other: int, is_server: bool
) -> None:
    """Up to the cores of a socket, experts on the CPU come no later."""
    host = replace(SERVER, sockets=1) if is_server else DESKTOP
    few, many = (
        _seconds(
            question(f"-ngl 99 -cmoe -t {min(each, host.cores_per_socket)}", model=model, host=host)
        )
        for each in sorted((threads, other))
    )
    assert many[0] <= few[0] * (1 + ROUNDING)
    assert many[1] <= few[1] * (1 + ROUNDING)


def _same(one: DevicePlacement, other: DevicePlacement) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("attention", "kv", "dense", "expert_fraction", "head", "weight_bytes")
    )


@given(models, hosts(), llama_lines(without=("-ncmoe",)), st.integers(0, 70))
@settings(max_examples=40)
def test_cpu_experts_are_the_patterns_they_stand_for(
    model: Model, host: RuntimeHost, line: str, count: int
) -> None:
    """-ncmoe and the overrides of its first layers, -cmoe and one of all: the same placement."""
    pairs = [
        (f"-ncmoe {count}", " ".join(rf"-ot 'blk\.{at}{EXPERTS}=CPU'" for at in range(count))),
        ("-cmoe", f"-ot '{EXPERTS}=CPU'"),
    ]
    for short, written in pairs:
        # Without layers nothing is placed, and the fit would place.
        one, other = (
            placement_of(question(f"-ngl 99 {line} {each}", model=model, host=host))
            for each in (short, written)
        )
        assert _same(one, other)


@given(
    models,
    st.lists(st.integers(0, 31), unique=True, min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40)
def test_the_order_of_rules_that_share_no_tensor_is_no_matter(
    model: Model, layers: list[int], random: Random
) -> None:
    """Rules of different layers may stand in any order, as one line or as one list."""
    rules = [
        rf"blk\.{layer}\.ffn_.*_exps={('CPU', 'CUDA1', 'CUDA0')[layer % 3]}" for layer in layers
    ]
    other = list(rules)
    random.shuffle(other)
    host = replace(DESKTOP, gpus=(GPU, GPU))
    lines = (" ".join(f"-ot '{rule}'" for rule in rules), f"-ot '{','.join(other)}'")
    one, two = (placement_of(question(f"-ngl 99 {line}", model=model, host=host)) for line in lines)
    assert _same(one, two)


@given(models, st.integers(1, 4), st.data())
@settings(max_examples=30)
def test_like_cards_are_alike(model: Model, count: int, data: st.DataObject) -> None:
    """Which of several like cards holds the model changes no speed."""
    host = replace(DESKTOP, gpus=(GPU,) * count)
    layers = data.draw(st.integers(0, 60))
    chosen = data.draw(st.integers(0, count - 1))
    line = f"-ngl 99 -ncmoe {layers} -sm none"
    first, other = (
        _seconds(question(f"{line} -mg {main}", model=model, host=host)) for main in (0, chosen)
    )
    assert other == pytest.approx(first)


@given(st.integers(0, 127), st.integers(1, 64), st.integers(1, 5000))
@settings(max_examples=30)
def test_experts_of_ktransformers_on_the_gpu_never_slow_decoding(
    count: int, more: int, tokens: int
) -> None:
    """Each expert more on the GPU takes its share of reads off the CPU."""
    few, many = (
        _seconds(
            replace(
                question(f"--kt-num-gpu-experts {each}", runtime="ktransformers"),
                context_tokens=tokens,
            )
        )[0]
        for each in (count, count + more)
    )
    assert many <= few * (1 + ROUNDING)
