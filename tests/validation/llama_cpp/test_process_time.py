"""CPU time of a process, as Linux tells it."""

import os
import sys
import time

import pytest

from validation.runtimes.llama_cpp.process_time import cpu_s


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells CPU time by thread")
def test_the_time_of_this_process_grows_with_work() -> None:
    """Work adds to it; it is the time that Python counts, but for threads that have ended."""
    before = cpu_s(os.getpid())
    counted = time.process_time()
    while time.process_time() - counted < 0.05:
        pass
    after = cpu_s(os.getpid())
    assert before is not None and after is not None
    assert after - before >= 0.04


def test_a_process_that_is_not_there_has_none() -> None:
    """None says that the system does not tell."""
    assert cpu_s(2**22 + 1) is None
