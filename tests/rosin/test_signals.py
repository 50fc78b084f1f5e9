"""Every command that writes is told to end, at moments drawn by a fixed seed; the long form is in
``tests.rosin.signalled``.
"""

import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from rosin.cli.output import Output
from rosin.cli.torch_needed import loading_torch
from tests.rosin.signalled import COMMANDS, moments, prepare, told_to_end

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

SLOW = ("caches", "calibrate", "measure", "reproduce", "validate")
"""Commands that take many seconds; the long form has them."""
NUM_MOMENTS = 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("signalled")
    prepare(folder)
    return folder


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SLOW])
def test_a_command_that_is_told_to_end_leaves_nothing_torn(name: str, inputs: Path) -> None:
    """One line and exit code 130, or the end that it was about to reach; the file that stood there
    or a whole one, and no temporary file.
    """
    for moment in moments(name, NUM_MOMENTS):
        told_to_end(name, moment, inputs)


def test_a_signal_waits_until_torch_is_loaded() -> None:
    """Torch aborts the process where an interruption meets it while it loads."""
    output = cast(Output, SimpleNamespace(waiting=lambda _: nullcontext()))
    loaded = []
    # A shell ignores SIGINT in what it starts in the background, and such a signal stays ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), loading_torch(output):
            signal.raise_signal(signal.SIGINT)
            loaded.append("torch")
    finally:
        signal.signal(signal.SIGINT, before)
    assert loaded
