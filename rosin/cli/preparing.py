"""Compilation of the simulator before its first use, with its progress on the terminal."""

from rosin.cli.output import Output

NOTICE = (
    "compiling the simulator for this computer, once: about a minute on two cores "
    "(a wheel built with kernels brings them along)"
)


def compile_all(output: Output) -> int:
    """Compile everything in two processes and show progress; return the number of new functions."""
    from planner.search.prepare import is_prepared, prepare

    if not is_prepared():
        output.note(NOTICE)
    num_functions = 0
    done = 0.0
    with output.waiting("starting two processes", 1.0) as waiting:
        for state in prepare():
            # The preparation says its share so far, and the line takes what has been added since.
            waiting.step(f"compiling {', '.join(state.under_way)}", state.done - done)
            num_functions = state.num_functions
            done = state.done
    return num_functions
