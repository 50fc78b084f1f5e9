"""The prefetch: what is fetched ahead of its gate."""

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.foresight import Foresight, Predictions
from sim.policies.problem import Problem
from sim.workload.batch import Passes


class Prefetch:
    """Decides which experts are fetched ahead of their gates.

    What it names, or expects, depends on gates alone, not on the clock. Whether a candidate is
    fetched, promoted or dropped is settled in the run, once the time of a gate is known.
    """

    is_active: bool = True
    """Whether any gate, or the start of a pass, names candidates."""

    is_of_draw: bool = False
    """Whether ``predict`` looks neither at machine nor residency nor budgets. Then runs over the
    same draw share its predictions.
    """

    comes_in_parts: bool = False
    """Whether ``predict`` says of a part of the passes what it says of them in the whole run, where
    one sequence is decoded. ``part_of`` holds what it needs to know from the parts before.
    """

    num_chunks: int = 1
    """Pieces of a copy; between two of them a copy on demand may go first."""

    drops_stale: bool = True
    """Whether a gate takes back the prefetches of its layer that have not begun and that it does
    not want.
    """

    max_waiting: int | None = None
    """Most prefetches that may be on their way at once (None: any number); with several GPUs, times
    their number. A gate's further candidates are passed over.
    """

    lookup_ns: int = 0
    """Time to find a gate's candidates, in ns."""

    is_lookup_awaited: bool = False
    """Whether the experts of the gate's layer wait for the lookup. If not, it runs aside."""

    is_copy_awaited: bool = False
    """Whether the next layer waits for what was fetched ahead."""

    copies_in_turn: bool = False
    """Whether experts are fetched ahead one by one over all links. Where the experts of a layer run
    in turn, prefetches come behind them.
    """

    pauses_on_miss: bool = False
    """Whether no prefetch begins on the link of any GPU while a missing expert is copied to one. On
    the link of that copy none ever begins.
    """

    update_ns: int = 0
    """Time to store what a pass has shown, in ns; it runs aside."""

    def predict(self, foresight: Foresight) -> Predictions:
        """The candidates of every gate of the run."""
        raise NotImplementedError

    def early(
        self, problem: Problem, residency: Residency, passes: Passes
    ) -> NDArray[np.bool_] | None:
        """Return the experts [pass, layer, expert] whose copies begin with their layer, ahead of
        its gate; None: never any. They go with residents that stay.

        None of the experts is resident, and a layer has no more of them than there are buffers. The
        copy of an expert that the gate then does not select is wasted.
        """
        return None
