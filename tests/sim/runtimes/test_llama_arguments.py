"""Arguments of llama.cpp and ik_llama.cpp: what they set, what is ignored by name, what is refused
in one line.
"""

import csv
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.runtimes.asking import READERS, read_runtime_arguments
from sim.runtimes.flags import count, positive
from sim.runtimes.llama_cpp import (
    CpuExperts,
    LlamaArguments,
    Override,
    read_llama_arguments,
    read_overrides,
)
from sim.runtimes.llama_cpp.arguments import KV_TYPES, TABLES
from tests.shared_data import shared_data

HOST = -1


def test_flags_of_the_issue() -> None:
    """Every flag of a usual line sets what its name says."""
    read = read_llama_arguments(
        "-ngl 99 -ncmoe 20 -ub 2048 -ctk q8_0 -fa 1 -t 16 -tb 32 -nkvo -ts 3,1 -sm layer"
    )
    assert (read.gpu_layers, read.placements) == (99, (CpuExperts(num_layers=20),))
    assert (read.micro_batch_tokens, read.batch_tokens) == (2048, 2048)
    assert (read.key_type, read.value_type) == ("q8_0", "f16")
    assert (read.threads, read.batch_threads) == (16, 32)
    assert read.is_flash_attention
    assert not read.is_kv_offloaded
    assert read.tensor_split == (3.0, 1.0)


COUNTED = {
    name: flag
    for runtime in TABLES
    for name, flag in TABLES[runtime].flags.items()
    if flag.read in (count, positive) and flag.key
}
"""Flags of either program that take a number as it is."""
CHOICES = {"-ctk": KV_TYPES, "-ctv": KV_TYPES, "-sm": ("layer", "none")}
VARIABLES = {name: flag for name, flag in TABLES["llama.cpp"].variables.items() if flag.key}


def _words(draw: st.DrawFn, name: str, value: object) -> list[str]:
    """A flag and its value, as one word or two."""
    if name.startswith("--") and draw(st.booleans()):
        return [f"{name}={value}"]
    return [name, str(value)]


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[list[str]], dict[str, object]]:
    """A program, flags of it in any order, the last of each counting, and what they set."""
    runtime = draw(st.sampled_from(sorted(TABLES)))
    known = [name for name in (*COUNTED, *CHOICES) if name in TABLES[runtime].flags]
    groups = []
    meant: dict[str, object] = {}
    for name in draw(st.lists(st.sampled_from(sorted(known)), max_size=8)):
        value = draw(st.sampled_from(CHOICES[name]) if name in CHOICES else st.integers(1, 10**6))
        meant[TABLES[runtime].flags[name].key] = value
        groups.append(_words(draw, name, value))
    return runtime, groups, meant


@given(lines())
def test_flags_set_what_their_names_say(
    typed: tuple[str, list[list[str]], dict[str, object]],
) -> None:
    """Short and long names, ``--name=value``, either program; nothing else is set."""
    runtime, groups, meant = typed
    line = " ".join(word for group in groups for word in group)
    read = read_llama_arguments(line, runtime)
    assert read == replace(LlamaArguments(runtime=runtime), **meant)


@given(typed=lines(), order=st.randoms(use_true_random=False))
def test_the_order_of_different_flags_is_no_matter(
    typed: tuple[str, list[list[str]], dict[str, object]], order: random.Random
) -> None:
    """Of one flag the last counts; flags that change nothing may stand anywhere."""
    runtime, groups, meant = typed
    # One of each key, so that there is no last one.
    table = TABLES[runtime].flags
    last = {table[group[0].partition("=")[0]].key: group for group in groups}
    mixed = [*last.values(), ["--seed", "7"], ["--host", "0.0.0.0"]]
    order.shuffle(mixed)
    read = read_llama_arguments(" ".join(word for group in mixed for word in group), runtime)
    assert set(read.ignored) == {"--seed", "--host"}
    assert replace(read, ignored=()) == replace(LlamaArguments(runtime=runtime), **meant)


@given(name=st.sampled_from(sorted(COUNTED)), data=st.data())
def test_a_flag_with_a_slip_is_named(name: str, data: st.DataObject) -> None:
    """A letter left out or doubled: read as the other flag that it is, or refused in one line."""
    index = data.draw(st.integers(1, len(name) - 1))
    typed = name[:index] + data.draw(st.sampled_from(["", name[index] * 2])) + name[index + 1 :]
    flags = TABLES["llama.cpp"].flags
    if typed in flags:
        return
    with pytest.raises(InputError) as caught:
        read_llama_arguments(f"{typed} 3")
    assert str(caught.value).startswith(f"llama.cpp argument {typed}: unknown flag")
    assert "\n" not in str(caught.value)


@given(variable=st.sampled_from(sorted(VARIABLES)), number=st.integers(1, 9999))
def test_variables_stand_for_their_flags(variable: str, number: int) -> None:
    """A variable before the line is the flag in it, where the flag takes a number."""
    flag = VARIABLES[variable]
    if flag.read not in (count, positive):
        return
    name = next(name for name, each in TABLES["llama.cpp"].flags.items() if each is flag)
    before = read_llama_arguments(f"{variable}={number} -nkvo")
    assert before == read_llama_arguments(f"-nkvo {name} {number}")


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("-ngl all", "gpu_layers", 10**6),
        ("-ngl auto", "gpu_layers", None),
        ("--gpu-layers=7", "gpu_layers", 7),
        ("-nopo", "is_op_offload", False),
        ("-nopo 1", "is_op_offload", False),
        ("-nopo 0", "is_op_offload", True),
        ("-nr", "is_repacked", False),
        ("--no-host", "is_host_buffer", False),
        ("--fit off", "is_fitted", False),
        ("-fa off", "is_flash_attention", False),
        ("-fa", "is_flash_attention", True),
        ("GGML_OP_OFFLOAD_MIN_BATCH=64 -ngl 99", "offload_min_tokens", 64),
        ("LLAMA_ARG_N_GPU_LAYERS=12", "gpu_layers", 12),
        ("-dev CUDA1,CUDA0", "devices", (1, 0)),
        ("-dev none", "devices", ()),
        ("--no-mmap", "load_mode", "none"),
        ("-mmp 0", "load_mode", "none"),
        ("--mlock", "load_mode", "mlock"),
        ("-lm dio", "load_mode", "dio"),
        ("--direct-io", "load_mode", "dio"),
        ("--no-mmap --load-mode mmap", "load_mode", "mmap"),
    ],
)
def test_mainline_flag(line: str, key: str, value: object) -> None:
    """A flag in each of the forms in which it is typed; the last one counts."""
    assert getattr(read_llama_arguments(line), key) == value


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("-rtr", "is_runtime_repacked", True),
        ("-fmoe 1", "is_fused_moe", True),
        ("-mla 3", "mla", 3),
        ("-ser 6,1", "experts_per_token", 6),
        ("-op 26,0,27,1", "offload_operations", ((26, 0), (27, 1))),
        ("-ncmoe 5", "placements", (CpuExperts(num_layers=5, is_from_end=True),)),
    ],
)
def test_ik_flag(line: str, key: str, value: object) -> None:
    """Flags that ik_llama.cpp alone has, or reads in its own way."""
    assert getattr(read_llama_arguments(line, "ik_llama.cpp"), key) == value


def test_environment_of_a_flag() -> None:
    """Variables that llama.cpp reads stand for flags; others are ignored by name."""
    read = read_llama_arguments(
        "CUDA_VISIBLE_DEVICES=0 LLAMA_ARG_CPU_MOE=1 -ngl 99 --host 0.0.0.0 --jinja"
    )
    assert read.placements == (CpuExperts(num_layers=None),)
    assert read.ignored == ("CUDA_VISIBLE_DEVICES", "--host", "--jinja")


def test_overrides_keep_their_order() -> None:
    """Overrides, shorthands among them, stay in the order given, however often -ot stands."""
    read = read_llama_arguments(r'-ot "blk\.1\.=CUDA0,exps=CPU" -cmoe -ot "attn=CUDA1"')
    assert read.placements == (
        Override(pattern=r"blk\.1\.", device=0),
        Override(pattern="exps", device=HOST),
        CpuExperts(num_layers=None),
        Override(pattern="attn", device=1),
    )


def test_override_searches_anywhere() -> None:
    """A pattern need not match from the start, and an unescaped layer finds longer numbers too."""
    [override] = read_overrides("blk.1=CPU")
    assert override.finds("blk.1.ffn_up_exps.weight")
    assert override.finds("blk.12.ffn_up_exps.weight")
    assert not override.finds("blk.2.ffn_up_exps.weight")


@pytest.mark.parametrize(
    "pattern", ["(?i)exps", "(?<=a)b", "a++", "[]a]", "[[:digit:]]", r"\Ablk", "(?P<a>b)"]
)
def test_patterns_that_two_engines_read_differently(pattern: str) -> None:
    """What ECMAScript and Python do not read alike is refused by name."""
    with pytest.raises(InputError, match="ECMAScript"):
        read_llama_arguments(f"-ot '{pattern}=CPU'")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-ncmo 3", "did you mean '-ncmoe'"),
        ("-md draft.gguf", "speculative decoding"),
        ("--rpc 10.0.0.1:50052", "other computers"),
        ("-ngl", "a value must follow"),
        ("-ngl many", "whole number"),
        ("-ub 0", "at least 1"),
        ("-ctk q9_9", "one of f32"),
        ("-ot exps", "no pattern=buffer"),
        ("-ot exps=CUDA", "no buffer type 'CUDA'"),
        ("-ot '(exps=CPU'", "no regular expression"),
        ("-sm graph", "one of layer, none, row, tensor"),
        ("-np 4", "only one sequence"),
        ("-ts a,b", "shares such as 3,1"),
        ("-ot 'exps=CPU", "closing quotation"),
        ("-rtr", "unknown flag"),
        ("-fa maybe", "argument -fa maybe: one of 1, on, true"),
        ("-ngl 9 20", "argument 20: no flag before it takes a value"),
    ],
)
def test_refused_in_one_line(line: str, message: str) -> None:
    """What is unknown, refused or malformed is said in one line with what would be right."""
    with pytest.raises(InputError, match=message) as raised:
        read_llama_arguments(line)
    assert "\n" not in str(raised.value)
    assert "llama.cpp argument" in str(raised.value)


def test_smart_experts_below_one() -> None:
    """How many experts run below a threshold of 1 is the gate's to say."""
    with pytest.raises(InputError, match="the gate's values"):
        read_llama_arguments("-ser 6,0.5", "ik_llama.cpp")


def test_fit_only_without_placement() -> None:
    """Any placement in the arguments switches the fit off, as llama.cpp does."""
    assert read_llama_arguments("-t 8").uses_fit
    assert not any(
        read_llama_arguments(line).uses_fit for line in ("-ngl 9", "-ts 1,1", "-cmoe", "--fit off")
    )


@pytest.mark.parametrize("file", ["rows.csv", "memory.csv"])
def test_published_arguments_are_read(file: str) -> None:
    """Every line of arguments that is published for these programs is read, and none sets an
    unknown thing.
    """
    path = shared_data(f"runtimes/{file}")
    with path.open(encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["runtime"] in READERS]
    lines = {(row["runtime"], row["args"]) for row in rows}
    assert len(lines) > 10
    read = [read_runtime_arguments(runtime, line) for runtime, line in sorted(lines)]
    assert any(isinstance(arguments, LlamaArguments) and arguments.placements for arguments in read)


@pytest.mark.parametrize(
    "start", ["llama-server", "./build/bin/llama-bench", "C:\\\\llama\\\\llama-server.exe"]
)
def test_a_line_may_begin_with_its_program(start: str) -> None:
    """A command that was copied whole reads as its arguments do."""
    read = read_llama_arguments(f"{start} -hf unsloth/some-GGUF:Q4_K_M -ngl 20")
    assert read.gpu_layers == 20


@pytest.mark.parametrize("word", ["-1", "0"])
def test_the_program_chooses_threads(word: str) -> None:
    """No threads, or fewer, leave the choice to the program."""
    read = read_llama_arguments(f"-t {word} --threads-batch {word}")
    assert (read.threads, read.batch_threads) == (None, None)


def test_an_unknown_flag_with_no_near_one_is_refused_in_a_short_line() -> None:
    """The message says where the flags stand; it does not list them all."""
    with pytest.raises(InputError, match=r"unknown flag; docs/reference/runtimes\.md") as refused:
        read_llama_arguments("--zzyzx")
    assert len(str(refused.value)) < 120
