"""Studies that are killed: whatever the signal and the moment, what finished is kept and what goes
on ends the same.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.planner.studies import has_processes, points_kept, wait_until
from tests.rosin.command_line import assert_one_line_error, start_rosin
from tests.source_tree import ROOT

NUM_POINTS, NUM_MOMENTS = 24, 20
WORDS = (
    "whatif",
    "--model",
    "olmoe-1b-7b",
    "--machine",
    "desktop-rtx-4090-ddr5",
    "--prompt-tokens",
    "4",
    "--output-tokens",
    "1",
)
STUDY = (
    *WORDS,
    "--draws",
    "1",
    "--no-bounds",
    "--vary",
    f"link.h2d.bytes_per_s=5e9:60e9:{NUM_POINTS}",
    "--quiet",
    "-o",
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a study ended:

    ``num_before`` points were in its file when the signal was sent, ``num_kept`` are afterwards.
    """

    exit_code: int
    err: str
    num_before: int
    num_kept: int


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs, which ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def command_of(folder: Path, num_workers: int) -> list[str]:
    """The study in that folder."""
    return [sys.executable, "-m", "rosin", *STUDY, str(folder), "--workers", str(num_workers)]


def finish(folder: Path, num_workers: int) -> None:
    """Let the study come to its end."""
    subprocess.run(command_of(folder, num_workers), env=ENVIRONMENT, check=True)


def killed(
    folder: Path, num_workers: int, number: signal.Signals, after_points: int, pause_s: float
) -> Ended:
    """Start the study and send it the signal, some time after its file has that many points."""
    file = folder / "study.sqlite"
    study = subprocess.Popen(
        command_of(folder, num_workers),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    wait_until(lambda: study.poll() is not None or len(points_kept(file)) >= after_points)
    time.sleep(pause_s)
    num_before = len(points_kept(file))
    study.send_signal(number)
    _, err = study.communicate(timeout=120)
    wait_until(lambda: not has_processes(study.pid))
    return Ended(
        exit_code=study.returncode, err=err, num_before=num_before, num_kept=len(points_kept(file))
    )


@pytest.fixture(scope="module")
def undisturbed_table(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of the study that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    finish(folder, 1)
    return (folder / "table.csv").read_bytes()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_study_loses_no_finished_point(
    num_workers: int, undisturbed_table: bytes, tmp_path: Path
) -> None:
    """Killed at random moments, on and on in one folder, by one signal after the other; then left
    alone.

    No point is lost that a reader saw, SIGINT and SIGTERM exit with 130 and say what is kept, no
    worker outlives the command, and the table is that of a study which nobody disturbed.
    """
    moments = random.Random(num_workers)
    for number in islice(cycle(SIGNALS), NUM_MOMENTS):
        num_kept = len(points_kept(tmp_path / "study.sqlite"))
        after_points = min(num_kept + moments.randint(0, 1), NUM_POINTS - 1)
        ended = killed(tmp_path, num_workers, number, after_points, moments.uniform(0, 0.1))
        _check_end(ended, number, has_begun=ended.num_before > num_kept)
        assert ended.num_kept >= ended.num_before
    finish(tmp_path, num_workers)
    assert (tmp_path / "table.csv").read_bytes() == undisturbed_table


def _check_end(ended: Ended, number: signal.Signals, *, has_begun: bool) -> None:
    """Compare how it ended with what the signal asks for.

    While Python itself starts, it ends on a signal in its own way.
    """
    if number == signal.SIGKILL:
        assert ended.exit_code in (-number, 0)
        return
    if has_begun and ended.exit_code != 0:  # the study was not over before the signal
        assert ended.exit_code == 130, ended.err
        assert ended.err.splitlines()[-1] == "error: interrupted"
        assert "points are kept; the same command goes on" in ended.err
        assert "Traceback" not in ended.err


def test_a_second_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    """While a process writes, another is told so and changes nothing; the first ends as if alone."""
    first = subprocess.Popen(command_of(tmp_path, 1), env=ENVIRONMENT)
    try:
        wait_until(lambda: len(points_kept(tmp_path / "study.sqlite")) > 0)
        os.kill(first.pid, signal.SIGSTOP)
        kept = points_kept(tmp_path / "study.sqlite")
        assert_one_line_error(
            start_rosin(*STUDY, str(tmp_path), folder=tmp_path), "is in use by another sweep"
        )
        assert points_kept(tmp_path / "study.sqlite") == kept
    finally:
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait() == 0
    assert len(points_kept(tmp_path / "study.sqlite")) == NUM_POINTS
