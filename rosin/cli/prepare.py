"""`rosin prepare`: compile everything now instead of at the first run."""

import time

from rosin.cli.options import JsonOption, QuietOption, SeedOption
from rosin.cli.output import Output

PACKAGES = ("hwprofiles", "sim", "planner", "rosin")
"""What every command imports something of."""


def prepare(json: JsonOption = None, seed: SeedOption = 0, quiet: QuietOption = False) -> None:
    """Compile now what else the first run would compile."""
    from planner.prepare import prepare as compile_all

    output = Output(json=json, seed=seed, quiet=quiet)
    start = time.perf_counter()
    compile_all()
    _keep_bytecode()
    took_s = time.perf_counter() - start
    output.emit({"took_s": took_s}, [f"Compiled and kept; it took {took_s:.0f} s, and later runs start at once."])


def _keep_bytecode() -> None:
    """Python's own compiled files too: an installation has them, a checkout where Python is told to write none would never.

    Without them a command starts a quarter of a second later. Where they cannot be written, it does.
    """
    from compileall import compile_dir
    from importlib.util import find_spec

    for package in PACKAGES:
        found = find_spec(package)
        for folder in (found and found.submodule_search_locations) or ():
            compile_dir(folder, quiet=2)
