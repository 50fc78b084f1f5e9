"""`rosin prepare`: compile everything now instead of at the first run."""

import time

from rosin.cli.options import JsonOption, QuietOption, SeedOption
from rosin.cli.output import Output


def prepare(json: JsonOption = None, seed: SeedOption = 0, quiet: QuietOption = False) -> None:
    """Compile now what else the first run would compile."""
    from planner.search.prepare import prepare as compile_all

    output = Output(json=json, seed=seed, quiet=quiet)
    start = time.perf_counter()
    compile_all()
    took_s = time.perf_counter() - start
    output.emit(
        {"took_s": took_s},
        [f"Compiled and kept; it took {took_s:.0f} s, and later runs start at once."],
    )
