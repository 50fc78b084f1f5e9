"""Commands that start with closed streams, on a terminal without columns, or that are told to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hwprofiles.text_file import check_target, write_bytes
from rosin.report.console import DEFAULT_COLUMNS, PlainConsole
from tests.rosin.command_line import ROOT

ROSIN = f"PYTHONPATH={ROOT} exec {sys.executable} -m rosin"


def _shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("models nobody 2>&-", 2, ""),
        ("models nobody 2>/dev/full", 2, ""),
        ("policies >&-", 2, "error: cannot write the output: Bad file descriptor\n"),
        ("policies --quiet --json x.json <&- >&- 2>&-", 0, ""),
    ],
)
def test_closed_streams(words: str, code: int, said: str, tmp_path: Path) -> None:
    """What nobody hears changes no exit code and never goes among results; results that nobody gets
    are an error; a file is written whatever is closed, and nothing else into it.
    """
    finished = _shell(f"{ROSIN} {words}", tmp_path)
    assert (finished.returncode, finished.stdout, finished.stderr) == (code, "", said)
    for path in tmp_path.iterdir():
        assert path.read_text(encoding="utf-8").startswith("{")


def test_terminal_without_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are printed as where there is none."""
    monkeypatch.setenv("COLUMNS", "0")
    assert PlainConsole().width == DEFAULT_COLUMNS


ENDED = """
import os, signal, sys
from pathlib import Path
from hwprofiles.text_file import whole_file
from rosin.cli.failures import exit_code_of
from rosin.cli.stopping import end_as_interrupted

def write():
    with whole_file(Path("out")) as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), int(sys.argv[1]))

end_as_interrupted()
sys.exit(exit_code_of(write))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_told_to_end(number: signal.Signals, tmp_path: Path) -> None:
    """While it writes: the old file is whole, its own is gone, and the exit code is that of Ctrl-C;
    one that `nohup` started writes on.
    """
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(
            "the tests ignore this signal themselves, as under nohup, and so do their children"
        )
    (tmp_path / "out").write_bytes(b"old")
    script = f"PYTHONPATH={ROOT} {sys.executable} -c '{ENDED}' {number:d}"
    finished = _shell(script, tmp_path)
    assert (finished.returncode, finished.stderr) == (130, "error: interrupted\n")
    assert (tmp_path / "out").read_bytes() == b"old"
    ignored = _shell(f"trap '' {number:d}; {script}", tmp_path)
    # Python takes over Ctrl-C unless it is ignored, and so do we.
    assert (ignored.returncode, ignored.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == b"half"
    assert os.listdir(tmp_path) == ["out"]


def test_writers_of_one_file_never_share_a_temporary_one(tmp_path: Path) -> None:
    """Writers in two containers may have one number; each writes its own file, and what stands there
    at the end is whole. A name as long as the system takes is one, too.
    """
    target = tmp_path / ("n" * 255)
    check_target(target)
    script = (
        "import os, sys; from pathlib import Path; os.getpid = lambda: 7\n"
        "from hwprofiles.text_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'first'); file.flush(); print(flush=True); sys.stdin.read(1)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout is not None and first.stdin is not None
        first.stdout.readline()
        # The number 7 may or may not run here; only the names matter.
        [temporary] = [path for path in tmp_path.iterdir() if path != target]
        temporary.rename(tmp_path / "kept")
        write_bytes(b"second", target)
        (tmp_path / "kept").rename(temporary)
        assert target.read_bytes() == b"second"
        first.communicate(b"x")
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == [target.name]
