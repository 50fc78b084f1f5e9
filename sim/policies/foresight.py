"""What a prefetch or a dispatch may know of the run ahead, and what it predicts."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.memo import Memo, Same
from sim.policies.problem import Problem
from sim.workload.batch import Passes

if TYPE_CHECKING:
    from sim.routing.base import Routing

Value = TypeVar("Value")

CANDIDATE = np.dtype([("layer", "i4"), ("expert", "i4"), ("priority", "i4")])
"""An expert to fetch ahead. A smaller priority (0 or more) goes first; every fetch on demand goes
before all of them.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartOf:
    """Where passes stand in a longer run: behind the first ``num_before`` of its ``num_passes``
    passes.

    ``crowded`` [pass, layer, expert] are the tokens of those earlier passes that feed several
    tokens. ``learnt`` is what the predictor had learnt by the end of the earlier passes, as its
    Predictions of them state.
    """

    num_before: int
    num_passes: int
    crowded: NDArray[np.int32]
    learnt: object | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foresight:
    """What a predictor may look at. The future in it is for predictors of stated accuracy alone: no
    real system sees it.

    ``residency`` is the residency at time 0. ``tokens`` [pass, layer, expert] are the tokens that
    experts get. ``expert_ids`` [sequence, token, MoE layer, rank] were drawn from ``routing`` with
    ``seed``. What a system has seen of other requests comes from ``routing.other_requests``.

    ``shared`` keeps, for other runs over the draw, what depends on nothing but the draw, model,
    popularity and batch (None: nothing is kept). One memo serves draws of one routing.

    ``part_of`` says where the passes stand in a longer run (None: they are the run, or its first
    passes). ``later_uses`` [layer, expert] is the pass that next selects each expert after these
    passes. The number counts from the first of these passes (None: no pass follows, or no cache
    asks).
    """

    problem: Problem
    residency: Residency
    routing: "Routing"
    passes: Passes
    tokens: NDArray[np.int32]
    expert_ids: NDArray[np.int16]
    seed: int
    shared: Memo | None = None
    later_uses: NDArray[np.int32] | None = None
    part_of: PartOf | None = None

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what ``make`` gives, computed once for all runs over the draw that ask with the
        same ``key``.

        The value must not depend on machine, residency or budgets.
        """
        if self.shared is None:
            return make()
        return self.shared.get((Same(self.tokens), key, self.seed), make)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a prefetch names at each gate, and what it forecasts for eviction.

    ``candidates[first[g]:first[g + 1]]`` belong to gate g = pass · layers + layer. Behind the gates
    there may be one more entry a pass, for the candidates named when the pass starts.

    ``forecast`` [pass + 1, layer, expert] holds predicted shares of tokens (None: there is no
    forecast). Row 0 stands before the run, and row p + 1 is that of pass p. A gate of pass p knows
    row p + 1 for the layers up to ``reach`` beyond its own, and row p for the others.

    With ``chances`` [step], each gate also weighs what to fetch by simulating the next layers.
    ``expected`` [step, pass, layer, expert] are the tokens expected step + 1 layers before the
    gate. Each expert expected at a step is right with the chance of that step.

    ``learnt`` is what the predictor goes on from in the next part of a run (None: nothing).
    """

    first: NDArray[np.int64]
    candidates: NDArray[np.void]
    forecast: NDArray[np.float32] | None = None
    reach: int = 0
    expected: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int32))
    chances: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    learnt: object | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foretold:
    """What a pass runs by prediction: the ``tokens`` [layer, expert] of experts in all its layers,
    and which ``layers`` [layer] are predicted.

    A predicted layer runs no gate of its own. The layer before runs that gate, and starts the
    experts that go to the CPU.
    """

    tokens: NDArray[np.int32]
    layers: NDArray[np.bool_]
