"""How many threads a plan is made with."""

import os


def num_threads() -> int:
    """Return two; one where ``OMP_NUM_THREADS`` says so, as for the workers of a study.

    A study plans as many points at once as there are cores.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return 1 if said == "1" else 2


NUM_THREADS = num_threads()
