"""Exports of llama.cpp's family: read back, every form puts the same bytes on the same devices."""

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from planner.export.checking import check_text
from planner.export.llama_cpp.arguments import llama_environment, llama_words
from planner.export.llama_cpp.layer_patterns import layer_pattern
from planner.export.runtime_command import RuntimeCommand
from planner.export.runtimes import WRITERS, runtime_text
from planner.runtimes.llama_layout import Layout, arguments_of, homes_of, placement_in
from planner.runtimes.llama_search import base_arguments
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.llama_cpp import LlamaArguments, read_llama_arguments
from sim.runtimes.placing import placement_of
from tests.planner.misplaced import misplaced_bytes
from tests.planner.runtime_plans import TWO_GPUS, asked
from tests.sim.runtimes.examples import DESKTOP, deepseek, qwen

LLAMAS = ("llama.cpp", "ik_llama.cpp")


@given(st.sets(st.integers(0, 127), min_size=1))
def test_layer_patterns_find_their_layers_alone(layers: set[int]) -> None:
    """A pattern of any numbers finds each of them in a tensor's name, and no other."""
    pattern = rf"blk\.{layer_pattern(sorted(layers))}\.ffn"
    names = {layer: f"blk.{layer}.ffn_up_exps.weight" for layer in range(300)}
    assert {layer for layer in names if re.search(pattern, names[layer])} == layers
    assert not set("{},=;") & set(pattern)


def test_layer_patterns_are_short() -> None:
    """Runs of layers become classes of digits."""
    assert layer_pattern(range(48)) == "([0-9]|[1-3][0-9]|4[0-7])"
    assert layer_pattern([7]) == "7"
    assert layer_pattern([8, 9, 10]) == "([89]|10)"


def _random_layout(seed: int, runtime: str) -> tuple[Layout, LlamaArguments, object]:
    """A layout with a device for each matrix at random, over one or two GPUs, as its arguments."""
    generator = random.Random(seed)
    num_gpus = generator.choice((1, 2))
    model = generator.choice((qwen(), deepseek()))
    search = asked(runtime, host=TWO_GPUS if num_gpus == 2 else DESKTOP, model=model)
    entries = model.num_layers + 1
    on_gpus = generator.choice((entries, generator.randint(1, entries)))
    first = generator.randint(0, on_gpus) if num_gpus == 2 else on_gpus
    split = (first, on_gpus - first) if num_gpus == 2 else (on_gpus,)
    homes = homes_of(search, split)
    devices = range(-1, num_gpus)
    matrices = tuple(
        (generator.choice(devices), generator.choice(devices), generator.choice(devices))
        for _ in range(model.num_layers)
    )
    layout = Layout(homes, matrices)
    base = base_arguments(search, generator.choice(("f16", "q8_0")), generator.choice((512, 4096)))
    return layout, arguments_of(search, base, layout), search


@pytest.mark.parametrize("runtime", LLAMAS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_every_form_places_the_same_bytes(runtime: str, seed: int) -> None:
    """Matrices at random: all forms that express them are read back to the same placement."""
    layout, arguments, search = _random_layout(seed, runtime)
    question = search.question(arguments)  # type: ignore[attr-defined]
    wanted = placement_in(search, layout)  # type: ignore[arg-type]
    placed = placement_of(question)
    assert np.array_equal(placed.expert_fraction, wanted.expert_fraction)
    assert np.array_equal(placed.weight_bytes, wanted.weight_bytes)
    command = _command(runtime, arguments)
    for form in WRITERS[runtime].forms:
        text = runtime_text(form, command)
        assert misplaced_bytes(question, form, text) == 0, text


def test_bench_has_its_own_separators() -> None:
    """In llama-bench a comma begins another test, so overrides and splits are written otherwise."""
    arguments = read_llama_arguments('-ngl 99 -ts 2,1 -ot "a=CPU,b=CPU" -c 4096 --fit off')
    text = runtime_text("bench", _command("llama.cpp", arguments))
    assert '-ot "a=CPU;b=CPU"' in text
    assert "-ts 2/1" in text
    assert "-c" not in text.split()
    assert "--fit" not in text


@given(own=st.none() | st.integers(1, 512), prompts=st.integers(1, 512))
def test_prompts_with_threads_of_their_own_are_measured_with_them(
    own: int | None, prompts: int
) -> None:
    """llama-bench has one number of threads a run: prompt and answer are two commands then."""
    line = f"-ngl 99 -cmoe -tb {prompts}" + ("" if own is None else f" -t {own}")
    command = _command("llama.cpp", read_llama_arguments(line))
    text = runtime_text("bench", command)
    prompt, answer = (commanded.split() for commanded in text.splitlines())
    assert prompt[prompt.index("-t") + 1] == str(prompts)
    assert "-tb" not in text.split()
    assert (prompt[prompt.index("-n") + 1], answer[answer.index("-p") + 1]) == ("0", "0")
    read = read_llama_arguments(WRITERS["llama.cpp"].arguments_in("bench", text))
    wanted = read_llama_arguments(line)
    assert (read.threads, read.batch_threads) == (wanted.threads, wanted.batch_threads)


def test_a_form_says_what_it_cannot() -> None:
    """The threads of prompts have no variable: whoever reads the file is told."""
    command = _command("llama.cpp", read_llama_arguments("-ngl 99 -t 8 -tb 16"))
    left_out = WRITERS["llama.cpp"].left_out
    [said] = left_out("env", command)
    assert "-tb 16" in said
    assert "16" not in runtime_text("env", command)
    assert not any(left_out(form, command) for form in ("args", "bench", "preset"))


def test_variables_stand_for_flags() -> None:
    """An environment file has one variable a line, and turns copies off by a large threshold."""
    arguments = read_llama_arguments("-ngl 99 -cmoe --no-op-offload -t 8")
    lines = runtime_text("env", _command("llama.cpp", arguments)).splitlines()
    assert "LLAMA_ARG_CPU_MOE=1" in lines
    assert "LLAMA_ARG_THREADS=8" in lines
    assert "GGML_OP_OFFLOAD_MIN_BATCH=2147483647" in lines


def test_a_changed_text_is_refused() -> None:
    """An exporter that loses a pattern is found out before anybody pastes its text."""
    with pytest.raises(InputError, match="would change placements"):
        check_text("llama.cpp", "-ngl 99 -cmoe", "args", "llama-server -m x.gguf -ngl 99\n")


def test_an_unknown_form_names_the_others() -> None:
    """Forms are those of the runtime."""
    command = _command("llama.cpp", read_llama_arguments("-ngl 9"))
    with pytest.raises(InputError, match=r"no form of llama\.cpp named 'bensh'; did you mean"):
        runtime_text("bensh", command)


def test_ktransformers_arguments_are_read_back() -> None:
    """Its command places the experts that the plan does."""
    line = "--kt-num-gpu-experts 20 --kt-method llamafile --kt-cpuinfer 16"
    search = asked("ktransformers")
    question = search.question(read_runtime_arguments("ktransformers", line))
    words = WRITERS["ktransformers"].words(question.arguments)
    command = RuntimeCommand(
        runtime="ktransformers", model_name="m", model_words=("--model", "m"), words=words
    )
    assert misplaced_bytes(question, "args", runtime_text("args", command)) == 0


def _command(runtime: str, arguments: LlamaArguments) -> RuntimeCommand:
    return RuntimeCommand(
        runtime=runtime,
        model_name="model",
        model_words=("-m", "model.gguf"),
        words=llama_words(arguments),
        environment=llama_environment(arguments),
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("x.gguf", ("-m", "x.gguf")),
        ("models/X.GGUF", ("-m", "models/X.GGUF")),
        ("gpt-oss-120b", ("-m", "gpt-oss-120b.gguf")),
        ("unsloth/GLM-4.5-Air-GGUF:UD-Q4_K_XL", ("-hf", "unsloth/GLM-4.5-Air-GGUF:UD-Q4_K_XL")),
        ("ggml-org/gpt-oss-120b-GGUF", ("-hf", "ggml-org/gpt-oss-120b-GGUF")),
        ("Qwen/Qwen3-30B-A3B", ("-m", "Qwen3-30B-A3B.gguf")),
        ("qwen3:30b-a3b", ("-m", "qwen3-30b-a3b.gguf")),
    ],
)
def test_the_command_names_a_file_or_a_repository_that_llama_cpp_fetches(
    model: str, words: tuple[str, ...]
) -> None:
    """A name with an owner and GGUF in it is fetched; any other becomes the name of a file."""
    assert WRITERS["llama.cpp"].model_words(model) == words


def test_ik_llama_cpp_is_given_a_file() -> None:
    """Its --hf-repo takes no format, so that the command names a file."""
    words = WRITERS["ik_llama.cpp"].model_words("unsloth/GLM-4.5-Air-GGUF:UD-Q4_K_XL")
    assert words == ("-m", "GLM-4.5-Air-UD-Q4_K_XL.gguf")
