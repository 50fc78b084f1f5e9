"""`rosin machines`: the list, and one machine with the provenance of every number."""

import json
from pathlib import Path

import pytest

from hwprofiles import Kind, load_machine, machine_names, parse_machine
from hwprofiles.units import format_rate
from rosin.__main__ import main
from rosin.commands.machines.numbers import count_by_kind, machine_numbers
from tests.rosin.command_line import run_rosin

OVERRIDE = "link.h2d.bytes_per_s=50e9"


def _lines(*arguments: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def _json(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main([*arguments, "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


def test_list_names_every_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Each name stands whole at the start of a line, with its rates."""
    lines = _lines("machines", capsys=capsys)
    for name in machine_names():
        row = next(line for line in lines if line.split()[:1] == [name])
        assert format_rate(load_machine(name).link.h2d.bytes_per_s.effective) in row


@pytest.mark.parametrize(
    "arguments", [["machines"], *(["machines", name] for name in machine_names())], ids=" ".join
)
def test_output_fits_80_columns(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer, no text is cut off with an ellipsis, and there is no colour without a
    terminal.
    """
    monkeypatch.setenv("COLUMNS", "80")
    lines = _lines(*arguments, capsys=capsys)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line or "\x1b" in line for line in lines)


@pytest.mark.parametrize("name", machine_names())
def test_every_source_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The sources of all numbers can be read in full, wherever their lines break."""
    shown = "".join("".join(_lines("machines", name, capsys=capsys)).split())
    for number in machine_numbers(load_machine(name)):
        assert "".join(number.provenance.source.split()) in shown


@pytest.mark.parametrize("name", machine_names())
def test_counts_add_up(name: str) -> None:
    """Every quantity, efficiency and curve of the file is counted once, under the kind it states."""
    machine = load_machine(name)
    counts = count_by_kind(machine_numbers(machine))
    stated = machine.model_dump_json().count('"kind":')
    assert list(counts) == list(Kind)
    assert sum(counts.values()) == stated


def test_json_is_a_machine_again(capsys: pytest.CaptureFixture[str]) -> None:
    """What --json gives under `machine` reads back as the same machine."""
    result = _json("machines", "h100", capsys=capsys)
    assert parse_machine(result["machine"], "json") == load_machine("h100")


def test_provenance_is_the_weakest(capsys: pytest.CaptureFixture[str]) -> None:
    """A machine with an assumed number claims no more than that."""
    result = _json("machines", "h100", "--set", OVERRIDE, capsys=capsys)
    provenance = result["provenance"]
    assert isinstance(provenance, dict)
    assert provenance["kind"] == "assumed"


def test_override_is_shown_as_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    """What --set changes is shown with its new value, as assumed, and set by the user."""
    lines = _lines("machines", "h100", "--set", OVERRIDE, capsys=capsys)
    row = next(line for line in lines if line.startswith("h2d.bytes_per_s"))
    assert "50.0 GB/s" in row
    assert "assumed" in row
    assert any("set by the user" in line for line in lines)


def test_overrides_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    """Each --set counts; of two for the same number, the later."""
    arguments = ["--set", "gpu.count=2", "--set", OVERRIDE, "--set", "gpu.count=4"]
    machine = parse_machine(_json("machines", "h100", *arguments, capsys=capsys)["machine"], "json")
    assert (machine.gpu.count, machine.link.h2d.bytes_per_s.effective) == (4, 50e9)


def test_a_path_is_as_good_as_a_name(tmp_path: Path) -> None:
    """A machine file written from the JSON of another is shown like it."""
    machine = run_rosin("machines", "h100", "--json", "-", folder=tmp_path).json["machine"]
    (tmp_path / "mine.yaml").write_text(json.dumps(machine), encoding="utf-8")  # JSON is YAML
    by_path = run_rosin("machines", "mine.yaml", folder=tmp_path)
    assert (by_path.exit_code, by_path.out) == (
        0,
        run_rosin("machines", "h100", folder=tmp_path).out,
    )


def test_measured_curves_and_interference_are_numbers_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A curve is one number with its points counted, an interference is called by its two
    resources; both have their source.
    """
    provenance = {"kind": "measured", "source": "a bench of our own", "date": "2026-11-22"}
    curve = {
        "operation": "expert",
        "device": "gpu",
        "shape": {"hidden": 4096, "intermediate": 14336},
        "points": [[1, 10.0], [8, 20.0]],
    }
    interference = {"busy": "cpu", "slows": "h2d", "rate_fraction": {"value": 0.8, **provenance}}
    machine = load_machine("h100").model_dump(mode="json", exclude_none=True)
    machine |= {
        "curves": [curve | provenance],
        "interference": [interference],
        "price_usd": {"value": 30_000, **provenance},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(machine), encoding="utf-8")
    lines = _lines("machines", str(tmp_path / "mine.yaml"), capsys=capsys)
    rows = {line.split()[0]: line for line in lines if "measured" in line}
    assert "2 points" in rows["gpu.expert.bf16.4096×14336"]
    assert "0.8" in rows["cpu_slows_h2d.rate_fraction"]
    assert "$30,000" in rows["price_usd"]
    assert any("a bench of our own" in line for line in lines)
    assert max(map(len, lines)) <= 80
