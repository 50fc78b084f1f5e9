"""The prefetch: what is fetched ahead of its gate."""

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.foresight import Foresight, Predictions
from sim.policies.problem import Problem
from sim.workload.batch import Passes


class Prefetch:
    """Decides what is fetched ahead of its gate.

    What it names, or expects, depends on gates alone, not on the clock: which of it is fetched,
    promoted or dropped is settled when the gate is known in time.
    """

    is_active: bool = True
    """Whether anything is ever fetched ahead."""

    is_of_draw: bool = False
    """Whether ``predict`` looks neither at machine nor residency nor budgets; then runs over
    the same draw share what it says.
    """

    comes_in_parts: bool = False
    """Whether ``predict`` says of a part of the passes what it says of them in the whole run, where
    one sequence is decoded; of what it needs to know from the parts before, ``part_of`` tells it.
    """

    num_chunks: int = 1
    """Pieces of a copy, between which one on demand may go first."""

    drops_stale: bool = True
    """Whether a prefetch that has not begun when its layer's gate does not want it is taken
    back.
    """

    max_waiting: int | None = None
    """Most prefetches that may be on their way at once (None: any number): a gate's further
    candidates are passed over.
    """

    lookup_ns: int = 0
    """Time to find a gate's candidates."""

    is_lookup_awaited: bool = False
    """Whether the layer waits for the lookup, or it runs aside."""

    is_copy_awaited: bool = False
    """Whether the next layer waits for what was fetched ahead."""

    copies_in_turn: bool = False
    """Whether what is fetched ahead comes one by one over all links, behind the experts of the
    layer where those run in turn.
    """

    pauses_on_miss: bool = False
    """Whether no prefetch begins on the link of any GPU while a missing expert is copied to
    one; each link by itself always does so.
    """

    update_ns: int = 0
    """Time that storing what a pass has shown takes, aside."""

    def predict(self, foresight: Foresight) -> Predictions:
        """The candidates of every gate of the run."""
        raise NotImplementedError

    def early(
        self, problem: Problem, residency: Residency, passes: Passes
    ) -> NDArray[np.bool_] | None:
        """Experts [pass, layer, expert] whose copies begin with their layer, ahead of its gate,
        where residents stay; None: never any.

        None of them is resident; a layer has no more of them than there are buffers. What the gate
        then does not select was copied in vain.
        """
        return None
