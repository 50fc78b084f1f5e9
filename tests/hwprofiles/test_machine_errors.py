"""A wrong machine file: one line that names the file, the key, the value and what would be right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwprofiles.errors import InputError
from hwprofiles.library import load_machine

Edit = Callable[[dict[str, Any]], Any]


def number(value: Any = 1, **extra: Any) -> dict[str, Any]:
    """A quantity as a file holds it."""
    return {"value": value, "kind": "assumed", "source": "this test", "date": "2024", **extra}


def valid() -> dict[str, Any]:
    """The smallest machine."""
    direction = {"bytes_per_s": number(), "latency_ns": number()}
    rates = {"memory_bytes_per_s": number(), "flops_per_s": {"bf16": number()}}
    return {
        "format": "rosin-machine/1",
        "name": "small",
        "description": "The smallest machine.",
        "gpu": {"name": "g", "memory_bytes": number(), **rates, "launch_overhead_ns": number()},
        "cpu": {"name": "c", "cores": 1, **rates, "call_overhead_ns": number()},
        "link": {"name": "l", "h2d": direction, "d2h": direction},
        "host": {"layer_overhead_ns": number(), "step_overhead_ns": number()},
    }


def refusal(path: Path) -> str:
    """The message with which a file is refused; it is one line and begins with the file."""
    with pytest.raises(InputError) as caught:
        load_machine(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def put(path: str, value: Any) -> Edit:
    """An edit that writes the value at a dotted path."""

    def edit(data: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            data[key] = dict(data[key])
            data = data[key]
        data[last] = value

    return edit


def drop(path: str) -> Edit:
    """An edit that removes the key at a dotted path."""

    def edit(data: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            data[key] = dict(data[key])
            data = data[key]
        del data[last]

    return edit


CURVE = {
    "operation": "expert",
    "device": "cpu",
    "points": [[1, 1]],
    "kind": "measured",
    "source": "this test",
    "date": "2024",
}
FACTOR = {"busy": "cpu", "slows": "h2d", "rate_fraction": number(0.5)}


def test_the_smallest_machine_is_valid(tmp_path: Path) -> None:
    """The edits below start from a file that loads."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(valid()), encoding="utf-8")
    assert load_machine(str(path)).name == "small"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("gpuu", {}), "unknown key gpuu; did you mean 'gpu'?"),
        (
            put("gpu.memory_byte", number()),
            "unknown key gpu.memory_byte; did you mean 'memory_bytes'?",
        ),
        (
            put("link.h2d.latency", number()),
            "unknown key link.h2d.latency; did you mean 'latency_ns'?",
        ),
        (
            put("gpu.flops_per_s.bf16.vaule", 1),
            "unknown key gpu.flops_per_s.bf16.vaule; did you mean 'value'?",
        ),
        (
            put("cpu.memory_bytes", number(sorce="x")),
            "unknown key cpu.memory_bytes.sorce; did you mean 'source'?",
        ),
        (
            put("gpu.memory_bytes", number(efficiency={"valu": 1})),
            "unknown key gpu.memory_bytes.efficiency.valu; did you mean 'value'?",
        ),
        (put("disk", {"nmae": "d"}), "unknown key disk.nmae; did you mean 'name'?"),
        (
            put("curves", [{**CURVE, "pionts": []}]),
            "unknown key curves.0.pionts; did you mean 'points'?",
        ),
        (
            put("interference", [{**FACTOR, "slow": "cpu"}]),
            "unknown key interference.0.slow; did you mean 'slows'?",
        ),
        (drop("gpu"), "key gpu is missing"),
        (drop("link.d2h.bytes_per_s"), "key link.d2h.bytes_per_s is missing"),
        (
            put("gpu.memory_bytes", {"value": 1, "kind": "assumed", "date": "2024"}),
            "key gpu.memory_bytes.source is missing",
        ),
        (
            put("format", "rosin-machine/2"),
            "format: input should be 'rosin-machine/1', got 'rosin-machine/2'",
        ),
        (
            put("gpu", 5),
            "gpu: write a mapping with the keys name, memory_bytes, memory_bytes_per_s, flops_per_s, launch_overhead_ns, got 5",
        ),
        (
            put("gpu.memory_bytes", 24e9),
            "gpu.memory_bytes: write a mapping with the keys value, kind, source, date, got 24000000000.0",
        ),
        (
            put("gpu.memory_bytes", []),
            "gpu.memory_bytes: write a mapping with the keys value, kind, source, date, got a list",
        ),
        (
            put("gpu.memory_bytes", None),
            "gpu.memory_bytes: write a mapping with the keys value, kind, source, date, got nothing",
        ),
        (
            put("gpu.count", "two"),
            "gpu.count: input should be a valid integer, unable to parse string as an integer, got 'two'",
        ),
        (put("gpu.name", 5), "gpu.name: input should be a valid string, got 5"),
        (
            put("gpu.memory_bytes", number(-5)),
            "gpu.memory_bytes.value: must be at least 0, got -5",
        ),
        (
            put("gpu.memory_bytes", number(float("nan"))),
            "gpu.memory_bytes.value: input should be a finite number, got nan",
        ),
        (
            put("gpu.memory_bytes", number("inf")),
            "gpu.memory_bytes.value: input should be a finite number, got inf",
        ),
        (put("gpu.memory_bytes", number(True)), "gpu.memory_bytes.value: write a number, got True"),
        (
            put("gpu.memory_bytes", number("big")),
            "gpu.memory_bytes.value: 'big' is not a number; write for example 50e9, 24GB or 64GiB",
        ),
        (
            put("link.h2d.bytes_per_s", number(0)),
            "link.h2d.bytes_per_s: a rate must be greater than 0, got 0",
        ),
        (put("gpu.flops_per_s", {}), "gpu.flops_per_s: at least 1 must be given, got 0"),
        (
            put("gpu.memory_bytes.date", "May"),
            "gpu.memory_bytes.date: 'May' is not a date; write YYYY, YYYY-MM or YYYY-MM-DD",
        ),
        (
            put("gpu.memory_bytes.date", "2024-13"),
            "gpu.memory_bytes.date: '2024-13' is not a date; write YYYY, YYYY-MM or YYYY-MM-DD",
        ),
        (
            put("gpu.memory_bytes.source", ""),
            "gpu.memory_bytes.source: string should have at least 1 character, got ''",
        ),
        (
            put("gpu.memory_bytes.source", " "),
            r"gpu.memory_bytes.source: string should match pattern '\S', got ' '",
        ),
        (
            put("gpu.memory_bytes.kind", "guessed"),
            "gpu.memory_bytes.kind: input should be 'measured', 'published', 'datasheet', 'fitted' or 'assumed', got 'guessed'",
        ),
        (
            put("gpu.memory_bytes.efficiency", number(1.2)),
            "gpu.memory_bytes.efficiency.value: must be at most 1, got 1.2",
        ),
        (
            put("curves", [{**CURVE, "points": [[2, 1], [1, 1]]}]),
            "curves.0: sizes of points must rise strictly, got [2.0, 1.0]",
        ),
        (
            put("interference", [FACTOR, FACTOR]),
            "(top level): interference has more than one factor for busy cpu, slows h2d",
        ),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, edit: Edit, message: str) -> None:
    """File, key, value, and what would be right."""
    data = valid()
    edit(data)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert refusal(path) == f": {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [1, 2\n", ":2: broken YAML: "),
        ("a: 1\n\tb: 2\n", ":2: broken YAML: found "),
        ("gpu:\n  name: a\n  name: b\n", ":3: broken YAML: key 'name' is written twice"),
        (
            "date: !!timestamp 2024-01-01\n",
            ":1: broken YAML: tag tag:yaml.org,2002:timestamp is not read",
        ),
        ("", ": a machine file is a YAML mapping, got nothing"),
        ("- a\n", ": a machine file is a YAML mapping, got list"),
    ],
)
def test_broken_yaml_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    """Syntax errors say where."""
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    assert refusal(path).startswith(message)


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    """A binary file, and one with control characters."""
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(path) == ": not a text file; a machine file is YAML"
    path.write_bytes(b"a: \x01\n")
    assert refusal(path).startswith(": broken YAML: ")


def test_dates_and_exponents_are_read_as_people_write_them(tmp_path: Path) -> None:
    """YAML makes a date of 2024-02-10, an integer of 2024, and text of 50e9."""
    path = tmp_path / "small.yaml"
    text = yaml.safe_dump(valid(), default_flow_style=False).replace(
        "date: '2024'", "date: 2024-02-10", 1
    )
    text = text.replace("value: 1", "value: 50e9", 1).replace("date: '2024'", "date: 2024")
    path.write_text(text, encoding="utf-8")
    machine = load_machine(str(path))
    assert machine.cpu.call_overhead_ns.value == 50e9
    assert machine.cpu.call_overhead_ns.date == "2024-02-10"
    assert machine.host.step_overhead_ns.date == "2024"


@pytest.mark.parametrize("name", ["machines/none.yaml", ""])
def test_a_file_that_is_not_there_is_refused(name: str) -> None:
    """No path and no name: the error shows what was asked for."""
    with pytest.raises(InputError, match=r"^no machine "):
        load_machine(name)
