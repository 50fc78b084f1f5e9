"""What a part may know of a run that is to come, and what it says of it."""

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
"""An expert to fetch ahead; a smaller priority (0 or more) goes first, all behind fetches on
demand.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartOf:
    """Where passes stand in the run that they are a part of: behind ``num_before`` of its
    ``num_passes``.

    ``crowded`` [pass, layer, expert] are the tokens of those before that feed several tokens;
    ``learnt`` is what the predictor had learnt from those before, as its Predictions of them say.
    """

    num_before: int
    num_passes: int
    crowded: NDArray[np.int32]
    learnt: object | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foresight:
    """What a prefetcher may look at. The future in it is for predictors of stated accuracy: no
    system sees it.

    ``residency`` is that at time 0; ``tokens`` [pass, layer, expert]; ``expert_ids`` [sequence,
    token, MoE layer, rank], drawn from ``routing`` with ``seed``: what a system has seen of other
    requests comes from its ``other_requests``. ``shared`` keeps what depends on these alone, and on
    model, popularity and batch, for other runs over the draw; a store serves draws of one routing.

    Where ``passes`` are a part of a run, ``part_of`` says which, and ``later_uses`` [layer, expert] is the pass that next selects
    each expert once they are over, counted from the first of them; None: none follows.
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
        """What ``make`` gives, which must not depend on machine, residency or budgets; runs over
        the draw have it in common by ``key``.
        """
        if self.shared is None:
            return make()
        return self.shared.get((Same(self.tokens), key, self.seed), make)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What to fetch after each gate, and what is known for eviction.

    ``candidates[first[g]:first[g + 1]]`` belong to gate g = pass · layers + layer; behind the gates
    there may be one more entry a pass, for what is named when it starts. ``forecast`` [pass + 1,
    layer, expert] holds predicted shares (None: there are none): row 0 before the run, row p + 1
    those of pass p. A gate knows those of the layers up to ``reach`` beyond its own; of the others
    it knows the row before.

    Where there are ``chances`` [step], a gate also weighs for itself, by simulating the next
    layers, what to fetch for them: ``expected`` [step, pass, layer, expert] tokens, as foreseen
    step + 1 layers before. Each expert of it is right with that chance.

    ``learnt`` is what the predictor goes on from where these are predictions of a part of a run
    (None: nothing that it has to be told).
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
    """What a pass runs by prediction: ``tokens`` [layer, expert] of experts in all its layers;
    which ``layers`` [layer] are predicted.

    A predicted layer runs no gate of its own: the layer before runs it, and starts the experts that
    go to the CPU.
    """

    tokens: NDArray[np.int32]
    layers: NDArray[np.bool_]
