"""The entry point of `rosin` and `python -m rosin`; each command imports its own heavy modules."""

import atexit
import gc
import os
import sys
from collections.abc import Sequence

OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""New objects after which Python searches for reference cycles.

Cycles are few here, and none holds an array. With Python's default of 700 objects, the search takes
4 % of a plan's time.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, one of rosin.cli.failures.ExitCode."""
    # Before numpy is imported: products here are small and made in threads of ours, and BLAS's own
    # took ten times the work beside others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A virtual machine's host may take ten times as long to hand out a huge page as to hand out
    # small ones that are used again.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # which it looks for in all that is installed, a fiftieth of a second
    if arguments is None:  # the process is this command's own
        from rosin.cli.standard_streams import open_closed_streams

        open_closed_streams()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
        atexit.register(
            gc.freeze
        )  # or a last collection takes a tenth of a second, for memory that is given back anyway
    from rosin.cli.stopping import end_as_interrupted, hush_interrupted_callbacks, say_interrupted

    if arguments is None:
        hush_interrupted_callbacks()
        end_as_interrupted()
    try:
        # numpy and pydantic read the environment when they are first imported, so our modules come
        # after it is set.
        from rosin.cli.app import run_command
        from rosin.cli.failures import exit_code_of
    except KeyboardInterrupt:  # a signal that came before there was a command to end
        return say_interrupted()
    return exit_code_of(lambda: run_command(sys.argv[1:] if arguments is None else list(arguments)))


if __name__ == "__main__":
    sys.exit(main())
