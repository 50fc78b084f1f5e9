"""Memory that arrays give back stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import numpy as np

from rosin.cli.kept_memory import keep_memory


def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [np.ones(2**23, np.uint8) for _ in range(16)]
    del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


keep_memory()
print(faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_pages_are_handed_out_once() -> None:
    """Arrays made after others of that size were dropped take hardly a page that is new."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"},
    )
    first, second = map(int, done.stdout.split())
    assert second < first / 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no such call, nothing is loaded and nothing fails."""
    from rosin.cli.kept_memory import keep_memory

    monkeypatch.setattr(sys, "platform", "darwin")
    keep_memory()
