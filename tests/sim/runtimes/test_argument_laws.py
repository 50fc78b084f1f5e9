"""Laws of arguments that hold for every runtime: what flags set, in which order, what is no number,
and that any text is arguments or one line.
"""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.runtimes.asking import READERS, read_runtime_arguments
from sim.runtimes.exllamav3.arguments import TABLE as EXLLAMAV3
from sim.runtimes.flags import Effect, FlagTable, count, decimal, positive, whole
from sim.runtimes.ktransformers.arguments import TABLE as KTRANSFORMERS
from sim.runtimes.llama_cpp.arguments import TABLES
from sim.runtimes.vllm.arguments import TABLE as VLLM

OTHERS = {table.runtime: table for table in (KTRANSFORMERS, VLLM, EXLLAMAV3)}
ALL = {**OTHERS, **TABLES}
tables = st.sampled_from(sorted(OTHERS)).map(OTHERS.get)
APART = {"--offload-group-size", "--offload-num-in-group", "--cpu_infer", "--cpu-infer"}
"""Flags that need or exclude others."""


def _counted(table: FlagTable) -> list[str]:
    return [
        name
        for name, flag in table.flags.items()
        if flag.read in (count, positive) and flag.key and name not in APART
    ]


@given(tables, st.data(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_flags_set_what_their_names_say_in_any_order(
    table: FlagTable, data: st.DataObject, order: random.Random
) -> None:
    """A number under any of its names is that number; flags stand in any order, and of one flag the
    last counts.
    """
    names = data.draw(st.lists(st.sampled_from(_counted(table)), max_size=6))
    meant: dict[str, int] = {}
    words = []
    for name in names:
        meant[table.flags[name].key] = data.draw(st.integers(1, 10**6))
        words.append(f"{name} {meant[table.flags[name].key]}")
    read = read_runtime_arguments(table.runtime, " ".join(words))
    for key, value in meant.items():
        assert getattr(read, key) == value
    last = list({table.flags[word.split()[0]].key: word for word in words}.values())
    order.shuffle(last)
    assert read_runtime_arguments(table.runtime, " ".join(last)) == read


@given(st.sampled_from(sorted(ALL)), st.data())
@settings(max_examples=60)
def test_what_changes_nothing_is_named(runtime: str, data: st.DataObject) -> None:
    """Ignored flags leave every other field as it is, and are kept by name."""
    table = ALL[runtime]
    names = [name for name, flag in table.flags.items() if flag.effect is Effect.IGNORED]
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=5))
    words = [
        name if table.flags[name].arity.value == "switch" else f"{name} auto" for name in chosen
    ]
    read = read_runtime_arguments(runtime, " ".join(words))
    plain = read_runtime_arguments(runtime, "")
    assert set(read.ignored) == set(chosen)
    for field in type(plain).__dataclass_fields__:
        assert field == "ignored" or getattr(read, field) == getattr(plain, field)


@given(st.sampled_from(sorted(ALL)), st.data())
@settings(max_examples=60)
def test_what_cannot_be_priced_is_refused_by_name(runtime: str, data: st.DataObject) -> None:
    """Wherever it stands in the line."""
    table = ALL[runtime]
    names = [name for name, flag in table.flags.items() if flag.effect is Effect.REFUSED]
    name = data.draw(st.sampled_from(names))
    with pytest.raises(InputError, match="cannot be predicted; leave it out") as caught:
        read_runtime_arguments(runtime, f"{name} 1")
    assert str(caught.value).startswith(f"{runtime} argument {name}: ")
    assert "\n" not in str(caught.value)


@given(tables, st.data())
@settings(max_examples=60)
def test_a_flag_with_a_slip_is_named(table: FlagTable, data: st.DataObject) -> None:
    """A letter left out or doubled: the other flag that it is, or one line with the nearest."""
    name = data.draw(st.sampled_from(sorted(table.flags)))
    index = data.draw(st.integers(2, len(name) - 1)) if len(name) > 2 else 1
    typed = name[:index] + data.draw(st.sampled_from(["", name[index] * 2])) + name[index + 1 :]
    if typed in table.flags or not typed.startswith("-"):
        return
    with pytest.raises(InputError) as caught:
        read_runtime_arguments(table.runtime, f"{typed} 3")
    assert f"argument {typed}: unknown flag" in str(caught.value)
    assert "\n" not in str(caught.value)


DIGITS = "0123456789_.eE+-x ٣１nainf"


@given(st.text(DIGITS, max_size=8))
@settings(max_examples=200)
def test_numbers_are_those_of_every_program(text: str) -> None:
    """Digits with a sign; a point and an exponent where it may be broken. Python's own underscores
    and digits of other scripts, infinity and what is no number are refused.
    """
    plain = text[1:] if text[:1] in ("+", "-") else text
    if plain.isascii() and plain.isdigit():
        assert whole(text) == int(text)
        assert decimal(text) == float(text)
        return
    with pytest.raises(ValueError, match="a whole number is needed"):
        whole(text)
    try:
        found = decimal(text)
    except ValueError as error:
        assert str(error) == "a number is needed"
        return
    assert found == float(text)
    assert set(text) <= set("0123456789.eE+-")


@given(st.sampled_from(sorted(ALL)), st.data())
@settings(max_examples=80)
def test_every_flag_that_counts_refuses_what_is_no_number(
    runtime: str, data: st.DataObject
) -> None:
    """In one line that names it, for every program."""
    table = ALL[runtime]
    name = data.draw(st.sampled_from(_counted(table)))
    word = data.draw(st.sampled_from(["x", "1_0", "٣", "1.5", "1e3", "0x10", "nan", "inf", "-1"]))
    with pytest.raises(InputError, match="number") as caught:
        read_runtime_arguments(runtime, f"{name} {word}")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


SHARES = st.sampled_from(["nan", "inf", "-inf", "1_0", "1e309", "٣", "-1", "", "x", "1e308"])


@given(st.lists(SHARES, min_size=1, max_size=3), st.integers(0, 3))
@settings(max_examples=60)
def test_shares_are_finite(words: list[str], place: int) -> None:
    """Of -ts, of KTransformers' experts and of vLLM's memory: what is no share is refused."""
    split = ["1", "1"]
    split[place % 2 : place % 2] = words
    if set(words) == {"1e308"} and len(words) == 1:
        assert sum(read_runtime_arguments("llama.cpp", f"-ts {','.join(split)}").tensor_split) > 0
        return
    with pytest.raises(InputError, match="shares"):
        read_runtime_arguments("llama.cpp", f"-ts '{','.join(split)}'")
    for runtime, flag in (
        ("ktransformers", "--kt-gpu-experts-ratio"),
        ("vllm", "--gpu-memory-utilization"),
    ):
        with pytest.raises(InputError, match="a share"):
            read_runtime_arguments(runtime, f"{flag} '{words[0]}'")


DEVICES = st.sampled_from([0, "0", "cuda", "cuda:0", "cpu", 1, False, True, 0.0, None, "disk", []])


@given(st.dictionaries(st.integers(0, 6), DEVICES, min_size=1), st.booleans())
@settings(max_examples=100)
def test_a_device_map_has_one_device_for_each_layer(
    devices: dict[int, object], is_doubled: bool
) -> None:
    """Every layer from the first on, once, on GPU 0 or the CPU; anything else is one line."""
    text = json.dumps({f"model.layers.{layer}": device for layer, device in devices.items()})
    if is_doubled:
        text = f'{text[:-1]}, "layers.0": 0}}'
    known = all(
        isinstance(each, str | int)
        and not isinstance(each, bool)
        and each in (0, "0", "cuda", "cuda:0", "cpu")
        for each in devices.values()
    )
    layers = sorted({*devices, *([0] if is_doubled else [])})
    is_right = known and layers == list(range(len(layers))) and not (is_doubled and 0 in devices)
    if is_right:
        read = read_runtime_arguments("accelerate", text)
        assert read.num_layers == len(layers)
        assert read.host_layers == tuple(
            sorted(layer for layer, each in devices.items() if each == "cpu")
        )
        return
    with pytest.raises(InputError, match="device map: ") as caught:
        read_runtime_arguments("accelerate", text)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(sorted(READERS)), st.text(max_size=40))
@settings(max_examples=60)
def test_any_text_is_arguments_or_one_line(runtime: str, text: str) -> None:
    """Nothing else is ever raised, and the line is short."""
    try:
        read_runtime_arguments(runtime, text)
    except InputError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
