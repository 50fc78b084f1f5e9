"""The documentation: every command in it runs, in order, and every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from rosin.__main__ import main
from tests.source_tree import ROOT
from tests.tiny_config import write_tiny_config
from tests.validation.reproduced import papers_once  # noqa: F401  # a fixture

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```(?:python|yaml)\n# (\w+\.(?:py|yaml))\n(.*?)^```", re.MULTILINE | re.DOTALL)
"""A file of the reader's: a block that starts with its name."""
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^(?:\.venv/bin/)?rosin (.*?)(?: +\| .*|  +# .*)?$", re.MULTILINE)


def _commands(page: Path) -> list[str]:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [command for block in blocks for command in COMMAND.findall(block)]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_there_are_commands_to_run() -> None:
    """The pattern finds what the pages show: the README and the how-to guides have commands."""
    assert len(_commands(ROOT / "README.md")) >= 5
    assert (
        sum(len(_commands(page)) for page in PAGES if page.is_relative_to(ROOT / "docs" / "how-to"))
        >= 4
    )


@pytest.mark.usefixtures("papers_once")
@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=_name)
def test_commands_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of a page succeed one after the other, in a folder where the reader's own files
    lie.
    """
    monkeypatch.chdir(tmp_path)
    for config in ("config.json", "path/to/config.json"):
        write_tiny_config(Path(config))
    for name, code in FILE.findall(page.read_text(encoding="utf-8")):
        Path(name).write_text(code, encoding="utf-8")
    for command in _commands(page):
        assert main(shlex.split(command)) == 0, f"rosin {command}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists."""
    targets = [
        target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target
    ]
    assert [target for target in targets if not (page.parent / target).exists()] == []
