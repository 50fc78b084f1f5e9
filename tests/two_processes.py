"""The whole suite, as two processes of pytest at once.

``python -m tests.two_processes`` is what `make test` runs. Arguments are handed on to both.
"""

import os
import shutil
import subprocess
import sys
import tempfile

FIRST = ("tests/planner", "tests/rosin", "tests/test_examples.py", "tests/test_wheel.py")
"""What the first process runs; every other test is the second's, so that a new one is never left
out. Each part takes about half of the time. The documentation's commands stand with the tests of
papers, which share their simulations.
"""


def commands(*arguments: str) -> tuple[list[str], list[str]]:
    """Return the first process's command and the second's."""
    # Both would write the same file of what failed.
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return [*pytest, *FIRST], [*pytest, *(f"--ignore={path}" for path in FIRST)]


def main() -> int:
    """Run both, and return an exit code: 0 where both passed, else 1.

    They run one after the other where there is one core.
    """
    first, second = commands(*sys.argv[1:])
    if _num_cores() > 1:
        codes = _at_once(first, second)
    else:
        codes = [subprocess.run(command, check=False).returncode for command in (first, second)]
    return int(any(codes))


def _num_cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _at_once(first: list[str], second: list[str]) -> list[int]:
    """Show the first's output while it comes, and all of the second's behind it."""
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(second, stdout=output, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run(first, check=False).returncode
            return [code, beside.wait()]
        finally:
            beside.terminate()
            beside.wait()
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
