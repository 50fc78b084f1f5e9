"""`rosin machines new`, `detect` and `parts`, and lines of parts where a machine is named."""

from pathlib import Path

import pytest

from hwprofiles import load_machine
from hwprofiles.parts import parts_library
from rosin.__main__ import main
from rosin.commands.machines.parts_page import parts_page
from tests.rosin.command_line import ROOT, assert_one_line_error, run_rosin

LINE = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"


def test_the_page_of_parts_is_that_of_the_data() -> None:
    """Written by `rosin machines parts -o docs/reference/parts.md`."""
    page = ROOT / "docs" / "reference" / "parts.md"
    assert page.read_text(encoding="utf-8") == parts_page(parts_library())


def test_a_new_machine_is_written_and_read_back(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file is the line's machine under the file's name, and says again what was assumed."""
    path = tmp_path / "pc.yaml"
    assert main(["machines", "new", LINE, "-o", str(path)]) == 0
    said = capsys.readouterr().err
    assert load_machine(str(path)) == load_machine(LINE).model_copy(update={"name": "pc"})
    assert main(["machines", str(path)]) == 0
    assert capsys.readouterr().err == said != ""


def test_a_line_is_shown_with_shares_and_their_spread(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each share below its number, and below that how far it may be off; in 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["machines", f"{LINE} + NVMe 7GB/s"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("h2d.bytes_per_s"))
    assert "× efficiency" in lines[place + 1]
    assert lines[place + 2].split() == ["known", "from,", "to", "0.7", "0.84"]
    assert max(map(len, lines)) <= 80


def test_json_names_the_file_and_warns(tmp_path: Path) -> None:
    """As every command does."""
    result = run_rosin(
        "machines",
        "new",
        LINE,
        "-o",
        "pc.yaml",
        "--json",
        "-",
        folder=tmp_path,
    ).json
    assert result["path"] == "pc.yaml"
    assert result["machine"]["name"] == "pc"
    assert result["warnings"] == list(load_machine(LINE).assumptions)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("new", "RTX 4009 + Ryzen 9 7950X", "-o", "pc.yaml"), "nearest: GeForce RTX 4090"),
        (("new", LINE, "-o", "pc.json"), "a machine file ends in .yaml"),
        (("new", LINE, "-o", "nowhere/pc.yaml"), "cannot write nowhere/pc.yaml"),
        (("RTX 4080 + banana",), "part 'banana' is not understood"),
    ],
)
def test_a_mistake_leaves_no_file(
    tmp_path: Path,
    arguments: tuple[str, ...],
    fragment: str,
) -> None:
    """One line, exit code 2, nothing written."""
    assert_one_line_error(run_rosin("machines", *arguments, folder=tmp_path), fragment)
    assert list(tmp_path.iterdir()) == []


def test_the_computer_at_hand_is_written(tmp_path: Path) -> None:
    """Or its GPU is named as one that the library does not have."""
    result = run_rosin("machines", "detect", "-o", "pc.yaml", folder=tmp_path)
    if "the library has no GPU" in result.err:
        assert_one_line_error(result, "rosin machines new")
        return
    assert result.exit_code == 0
    machine = load_machine(str(tmp_path / "pc.yaml"))
    assert machine.cpu.memory_bytes is not None
    assert machine.cpu.memory_bytes.value > 0


def test_parts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Every name."""
    assert main(["machines", "parts"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    library = parts_library()
    assert all("".join(name.split()) in shown for name in [*library.gpus, *library.cpus])


def test_a_machine_without_a_gpu_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    """By its name, before anything is simulated."""
    arguments = (
        "--model",
        "granite-3-3b-a800m",
        "--policy",
        "fiddler",
        "--machine",
        "Ryzen 9 7950X",
    )
    result = run_rosin("simulate", *arguments, folder=tmp_path)
    assert_one_line_error(result, "Ryzen 9 7950X has no GPU")
