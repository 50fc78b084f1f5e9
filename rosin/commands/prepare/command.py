"""`rosin prepare`: compile everything now instead of at the first run."""

import time

from rosin.cli.output import Output
from rosin.cli.preparing import compile_all

NOTHING = "There is nothing to do: the simulator is compiled for this computer already."


def prepare(output: Output) -> None:
    """Compile now what else the first run would compile."""
    start = time.perf_counter()
    num_functions = compile_all(output)
    took_s = time.perf_counter() - start
    done = f"Compiled {num_functions} functions, and kept them, in {took_s:.0f} s."
    output.emit(
        {"took_s": took_s, "num_functions": num_functions},
        [f"{done} Later runs start at once." if num_functions else NOTHING],
    )
