"""`rosin export`: the text that an engine reads, to stdout whole, to a file, or in JSON."""

from pathlib import Path

import pytest

from rosin.__main__ import main
from tests.rosin.command_line import assert_one_line_error, run_rosin
from tests.rosin.scenarios import json_of

TIERS = "format: rosin-kv/1\nname: chat\nhost_bytes_per_rank: 60GiB\nlayerwise: true\n"


@pytest.fixture
def tiers(tmp_path: Path) -> str:
    """A file of KV tiers."""
    path = tmp_path / "kv.yaml"
    path.write_text(TIERS, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("engine", ["lmcache", "vllm"])
def test_stdout_file_and_json_say_the_same(
    engine: str, tiers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One text in three places; on stdout no line is broken."""
    assert main(["export", tiers, "--to", engine]) == 0
    text = capsys.readouterr().out
    assert main(["export", tiers, "--to", engine, "-o", str(tmp_path / "out")]) == 0
    assert (capsys.readouterr().out, (tmp_path / "out").read_text(encoding="utf-8")) == ("", text)
    data = json_of(capsys, "export", tiers, "--to", engine)
    assert (data["engine"], data["text"], data["path"]) == (engine, text, None)


def test_mistakes_are_one_line(tiers: str, tmp_path: Path) -> None:
    """An unknown program, a file that is not there, and a plan where tiers are needed."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("format: rosin-plan/1\n", encoding="utf-8")
    assert_one_line_error(
        run_rosin("export", str(plan), "--to", "lmcache", folder=tmp_path),
        "is a plan, and --to lmcache needs a file of KV tiers",
    )
    assert_one_line_error(
        run_rosin("export", tiers, "--to", "vlm", folder=tmp_path),
        "no program named 'vlm'; did you mean 'vllm'",
    )
    assert_one_line_error(
        run_rosin("export", "absent.yaml", "--to", "vllm", folder=tmp_path),
        "there is no file absent.yaml",
    )
