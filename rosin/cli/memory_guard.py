"""Refusal of runs and plans that need more memory than this computer has free."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.step.simulate import Question, Scenario

ADVICE = "lower --batch, --beams, --prompt-tokens or --output-tokens"
VARIABLE = "ROSIN_MEMORY_GUARD"
"""The environment variable that turns the refusal off, with the value ``off``."""


def refuse_large_run(scenario: "Scenario", *, keeps_totals: bool = False) -> None:
    """Raise InputError if a run of the scenario may take more memory than is free.

    ``keeps_totals``: a long run that can be simulated part by part keeps only one part at a time.
    """
    from planner.search.footprint import part_bytes, run_bytes
    from sim.step.long import is_long, reason_to_keep

    is_in_parts = keeps_totals and is_long(scenario)
    needed = part_bytes(scenario) if is_in_parts else run_bytes(scenario)
    reason = reason_to_keep(scenario.policy) if keeps_totals else None
    advice = ADVICE if reason is None else f"all of it is kept, since {reason}; {ADVICE}"
    _refuse(needed, f"simulating {scenario.policy.name} here", advice)


def refuse_large_plan(
    question: "Question", num_draws: int | None, num_processes: int | None = None
) -> None:
    """Raise InputError if the searches that run at once may take more memory than is free.

    ``num_processes`` is the number of searches at once. None: one search that runs several
    candidates at once. ``num_draws`` is None for the question's default.
    """
    from planner.search.draw_counts import default_draws
    from planner.search.footprint import plan_bytes
    from planner.search.threads import NUM_THREADS

    num_threads = NUM_THREADS if num_processes is None else 1
    needed = plan_bytes(question, num_draws or default_draws(question), num_threads) * (
        num_processes or 1
    )
    # Fewer workers take less memory only where there are several.
    advice = (
        f"{ADVICE}, or --workers" if num_processes is not None and num_processes > 1 else ADVICE
    )
    _refuse(needed, "planning this", advice)


def _refuse(needed: int, what: str, advice: str) -> None:
    from hwprofiles import InputError
    from hwprofiles.units import format_bytes
    from planner.search.free_memory import free_bytes

    # The bytes needed are an estimate, and a user may know better.
    if os.environ.get(VARIABLE, "").lower() == "off":
        return
    free = free_bytes()
    # Where the system does not say what is free, nothing is refused.
    if free is not None and needed > free:
        sizes = f"{format_bytes(needed)} of memory, and {format_bytes(free)} are free"
        escape = f"{VARIABLE}=off tries all the same"
        raise InputError(f"{what} may take {sizes} on this computer; {advice}; {escape}")
