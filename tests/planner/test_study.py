"""Studies: what varies, which points that makes, what names a point, and what is refused before
anything runs.
"""

import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine, write_yaml
from planner.study.axes import parse_axes, parse_axis
from planner.study.machine_paths import machine_values
from planner.study.prices import load_prices
from planner.study.sensitivity import variations
from planner.study.study import Keys, content_digest
from planner.study.study_check import check_study
from tests.planner.studies import BASE, jobs_of, small_study
from tests.source_tree import ROOT

LINK = "link.h2d.bytes_per_s"


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        (f"{LINK}=12e9,25GB/s,1GiB", (12e9, 25e9, 2.0**30)),
        (f"{LINK}=10e9:30e9:3", (10e9, 20e9, 30e9)),
        (f"{LINK}=1e9:100e9:3:log", (1e9, 10e9, 100e9)),
        (f"{LINK}=1e9:2e9:2,7e9", (1e9, 2e9, 7e9)),
        ("batch=1:16:5:log", (1, 2, 4, 8, 16)),
        ("prompt-tokens=1k,2k", (1000, 2000)),
        ("model=mixtral-8x7b,olmoe-1b-7b", ("mixtral-8x7b", "olmoe-1b-7b")),
    ],
)
def test_values_are_read(argument: str, values: tuple[object, ...]) -> None:
    """Lists, units, ranges by equal steps and by equal factors, counts and names."""
    found = parse_axis(argument).values
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("argument", "fragments"),
    [
        ("link.h2d.bytes_per_s", ("write path=values",)),
        ("=1", ("write path=values",)),
        (f"{LINK}=", ("an empty value",)),
        (f"{LINK}=1,,2", ("an empty value",)),
        (f"{LINK}=fast", ("'fast' is not a number",)),
        (f"{LINK}=inf", ("inf is not finite",)),
        (f"{LINK}=12e9,12GB", ("12GB is there twice",)),
        (f"{LINK}=1:2", ("1:2 is not a range",)),
        (f"{LINK}=1:2:3:lin", ("is not a range",)),
        (f"{LINK}=1:2:1", ("the count must be a whole number from 2",)),
        (f"{LINK}=0:2:3:log", ("must be greater than 0",)),
        ("batch=1:4:3", ("batch takes whole numbers, got 2.5",)),
        ("batch=-1", ("batch takes whole numbers",)),
        ("h2d.bytes_per_s=1", ("did you mean 'link.h2d.bytes_per_s'?",)),
        ("promt_tokens=1", ("did you mean 'prompt_tokens'?",)),
        ("gpu.name=x", ("neither a number of a machine",)),
        ("policy=fiddler", ("each point is planned anew",)),
    ],
)
def test_wrong_axes_are_one_line(argument: str, fragments: tuple[str, ...]) -> None:
    """The argument is named, with what is wrong and what would be right."""
    with pytest.raises(InputError, match="`vary`") as caught:
        parse_axis(argument)
    assert "\n" not in str(caught.value)
    assert all(fragment in str(caught.value) for fragment in fragments)


def test_a_varied_number_replaces_the_one_that_was_set() -> None:
    """An override of the base for the same path gives way, others stay."""
    base = BASE.model_copy(update={"machine_overrides": (f"{LINK}=5e9", "gpu.memory_bytes=8e9")})
    [point] = small_study(f"{LINK}=1e9", base=base).points()
    assert point.setting.machine_overrides == ("gpu.memory_bytes=8e9", f"{LINK}=1000000000.0")


def test_keys_name_all_that_determines_a_point(tmp_path: Path) -> None:
    """The same value in another unit is the same point; another value, objective, version, seed or
    file content is another.
    """
    machine = tmp_path / "machine.yaml"
    data = load_machine(BASE.machine).model_dump(mode="json")
    write_yaml(data, machine)
    setting = BASE.model_copy(update={"machine": str(machine)})
    found = {Keys("throughput", "1").key(setting)}
    assert Keys("throughput", "1").key(setting) in found
    found |= {Keys("latency", "1").key(setting), Keys("throughput", "2").key(setting)}
    found |= {Keys("throughput", "1").key(setting.model_copy(update={"seed": 1}))}
    data["link"]["h2d"]["bytes_per_s"]["value"] = 5e9
    write_yaml(data, machine)
    found |= {Keys("throughput", "1").key(setting)}
    assert len(found) == 5
    one, other = (jobs_of(small_study(f"{LINK}={text}"))[0].key for text in ("12e9", "12GB"))
    assert one == other


def test_keys_are_the_same_in_every_process() -> None:
    """A fresh interpreter with another hash seed gives the same key."""
    program = "from tests.planner.studies import BASE, jobs_of, small_study; print(jobs_of(small_study('batch=1'))[0].key)"
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == jobs_of(small_study("batch=1"))[0].key


def test_content_follows_the_routing_file(tmp_path: Path) -> None:
    """A recorded popularity that changes under the same name is other content."""
    counts = tmp_path / "counts.json"
    digests = set()
    for first in (1, 2):
        counts.write_text(
            f'{{"counts_layer_expert": {[[first, 1, 1, 1, 1, 1, 1, 1]] * 32}}}', encoding="utf-8"
        )
        digests.add(content_digest(BASE.model_copy(update={"routing": f"popularity:{counts}"})))
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("vary", "fragments"),
    [
        (
            ["link.h2d.bytes_per_second=1e9"],
            ("`vary` link.h2d.bytes_per_second=1e9", "did you mean 'bytes_per_s'?"),
        ),
        ([f"{LINK}=12e9,0"], (f"`vary` {LINK}=0", "must be greater than 0")),
        (["machine=h100,h10"], ("`vary` machine=h10: no machine named 'h10'",)),
        (["model=mixtral-8x7"], ("`vary` model=mixtral-8x7", "did you mean 'mixtral-8x7b'?")),
        (["batch=1,0"], ("`vary` batch=0: `batch_size` must be at least 1, got 0",)),
        (
            ["batch=1,2", "prompt_tokens=8,100k"],
            ("`vary` prompt_tokens=100k: prompt and output are 100002 tokens",),
        ),
        (
            ["expert_slots_per_layer=8,9"],
            ("`vary` expert_slots_per_layer=9", "between 0 and the 8 experts"),
        ),
        (["quantization=none"], ("`vary` quantization=none",)),
    ],
)
def test_every_point_is_checked_before_any_runs(
    vary: list[str], fragments: tuple[str, ...]
) -> None:
    """The value at fault is named by the axis that it is of."""
    with pytest.raises(InputError) as caught:
        check_study(small_study(*vary))
    assert "\n" not in str(caught.value)
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("base_usd: 1", "the first line must be format: rosin-prices/1"),
        (
            "format: rosin-prices/1\ngpu.memory: {8GB: 1}",
            "gpu.memory does not vary in this study; did you mean 'gpu.memory_bytes'?",
        ),
        ("format: rosin-prices/1\ngpu.memory_bytes: {8GB: 1}", "no price for 16GB"),
        ("format: rosin-prices/1\ngpu.memory_bytes: 5", "write a mapping"),
        ("format: rosin-prices/1\nbase_usd: -1", "write a price in dollars of at least 0, got -1"),
    ],
)
def test_wrong_prices_are_one_line(text: str, fragment: str, tmp_path: Path) -> None:
    """The file and the key are named."""
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_prices(file, [parse_axis("gpu.memory_bytes=8GB,16GB")])
    assert str(file) in str(caught.value)
    assert fragment in str(caught.value)


def test_variations_start_from_the_effective_value() -> None:
    """A fifth less and more of what is simulated, efficiency included."""
    values = machine_values(load_machine(BASE.machine))
    found = {variation.path: variation for variation in variations(BASE)}
    assert set(found) >= {
        LINK,
        "gpu.memory_bytes",
        "gpu.memory_bytes_per_s",
        "cpu.memory_bytes_per_s",
    }
    low = load_machine(BASE.machine, found[LINK].low.machine_overrides)
    assert low.link.h2d.bytes_per_s.effective == pytest.approx(0.8 * values[LINK])


NUMBERS = st.floats(1.0, 1e15).map(lambda value: float(f"{value:.6g}"))


@given(st.lists(NUMBERS, min_size=1, max_size=5, unique=True), st.sampled_from(["", ",", "k"]))
def test_what_an_axis_types_is_read_again(values: list[float], ending: str) -> None:
    """Values, and the texts that repeat them, are one axis; numbers of a machine are numbers."""
    axis = parse_axis(f"{LINK}={','.join(f'{value!r}' for value in values)}")
    assert axis.values == tuple(values)
    assert parse_axis(f"{LINK}={','.join(axis.texts)}") == axis
    assert axis.is_numeric
    if ending == ",":
        with pytest.raises(InputError, match="an empty value"):
            parse_axis(f"{LINK}={','.join(axis.texts)},")
    if ending == "k":
        in_thousands = parse_axis(f"{LINK}={','.join(f'{value / 1e3!r}k' for value in values)}")
        assert in_thousands.values == pytest.approx(values)


@given(NUMBERS, NUMBERS, st.integers(2, 50), st.sampled_from(["", ":log"]))
def test_ranges_have_equal_steps_or_factors(
    start: float, stop: float, count: int, kind: str
) -> None:
    """From end to end, as many values as said; what would be there twice is refused."""
    argument = f"{LINK}={start!r}:{stop!r}:{count}{kind}"
    try:
        values = parse_axis(argument).values
    except InputError as error:
        assert "is there twice" in str(error)
        return
    steps = [float(value) if not kind else math.log(float(value)) for value in values]
    assert len(values) == count
    assert (values[0], values[-1]) == pytest.approx((start, stop))
    assert np.diff(steps) == pytest.approx(
        [(steps[-1] - steps[0]) / (count - 1)] * (count - 1), rel=1e-3, abs=1e-9 * abs(steps[0])
    )


@given(
    st.text("=:,.0123456789aeklmnopstuvwxyz_-GB", max_size=30),
    st.sampled_from(["", "batch=", f"{LINK}="]),
)
def test_whatever_is_typed_is_an_axis_or_one_line(text: str, start: str) -> None:
    """The line begins with what was typed, and nothing else is ever raised."""
    try:
        axis = parse_axis(start + text)
    except InputError as error:
        assert str(error).startswith("`vary` ")
        assert "\n" not in str(error)
        return
    assert len(axis.values) == len(axis.texts) == len(set(axis.values)) > 0


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True),
)
def test_points_are_the_product_in_order(rates: list[int], sizes: list[int]) -> None:
    """The last axis changes fastest; machine numbers become overrides, counts keys of the setting; a
    path may be said once.
    """
    words = [f"{LINK}={','.join(map(str, rates))}", f"batch={','.join(map(str, sizes))}"]
    study = small_study(*words)
    points = list(study.points())
    assert [point.values for point in points] == list(product(map(float, rates), sizes))
    assert study.num_points == len(points)
    for point in points:
        assert point.setting.machine_overrides == (f"{LINK}={point.values[0]!r}",)
        assert point.setting.batch_size == point.values[1]
    with pytest.raises(InputError, match="said twice; write all its values in one list"):
        parse_axes([*words, words[1]])
