"""The five parts a policy is made of, and what they are told.

A part is configuration: frozen, its parameters are its fields. A run calls, in this order:
``placement.place`` once; ``cache.start`` once; then for every layer of every forward pass, when its
gate is known, ``classify`` of the cache, ``assign`` of the dispatch for the misses, ``admit`` of
the cache for what is fetched. ``overlap`` says what may run at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Infeasible, Residency
from sim.policies.actions import LayerMode
from sim.policies.belief import Belief, belief
from sim.policies.cache.score import Score
from sim.policies.dispatch.rule import Rule
from sim.policies.problem import Problem
from sim.policies.shared import Shared
from sim.workload.batch import Passes

if TYPE_CHECKING:
    from sim.routing.base import Routing

Value = TypeVar("Value")


class Placement(ABC):
    """Decides what the GPU holds at time 0."""

    @abstractmethod
    def place(self, problem: Problem) -> Residency | Infeasible:
        """The residency, within GPU memory as the part accounts for it; Infeasible, with the bytes
        missing, when there is none.
        """

    @property
    def is_remade(self) -> bool:
        """Whether ``after_prompt`` may move experts."""
        return False

    def after_prompt(
        self, problem: Problem, residency: Residency, tokens: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """The experts [layer, expert] held from the first decoded token on, given the ``tokens``
        [layer, expert] of the prompt.

        As many of every layer as at time 0; where it moves any, the prompt's misses are fetched. By
        default nothing moves.
        """
        return residency.experts


class CacheState(ABC):
    """A cache during one run; the only part that changes."""

    @abstractmethod
    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of a layer's selected experts are resident; all are decided together, before any of
        them is admitted.
        """

    @abstractmethod
    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take in fetched experts, in order; returns the experts that left."""

    def reallocate(
        self, layer: int, tokens: NDArray[np.int32], *, is_prefill: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Selected experts that the gate's counts [expert] bring in for good, before any is looked
        up, and those whose places they take.

        By default none.
        """
        return np.empty(0, np.int64), np.empty(0, np.int64)

    @property
    def residents(self) -> NDArray[np.bool_] | None:
        """What is held [layer, expert], where no decode step changes that, whatever it runs; by
        default None: it may.
        """
        return None


class Cache:
    """Decides what stays and what is evicted: nothing ever (``is_static``), the worthless by a
    compiled ``score``, or code of its own.

    A part of your own need not be scored: then it implements ``start``.
    """

    @property
    def is_static(self) -> bool:
        """Whether what starts on the GPU stays there."""
        return False

    @property
    def score(self) -> Score | None:
        """What experts are kept for, where compiled code decides."""
        return None

    @property
    def is_global(self) -> bool:
        """Whether one budget serves all layers."""
        return False

    @property
    def is_emptied(self) -> bool:
        """Whether all that is held is given up once a pass has run; such a cache starts empty."""
        return False

    @property
    def starts_empty(self) -> bool:
        """Whether no slot holds an expert at time 0."""
        return False

    @property
    def writes_back(self) -> bool:
        """Whether an expert that leaves is copied to the host."""
        return False

    @property
    def smoothing(self) -> tuple[float, int]:
        """alpha, and how many shares are kept for each expert that a token selects, for the gate
        scores.
        """
        return 0.0, 0

    def start(self, residency: Residency) -> CacheState:
        """The cache at time 0, for a cache that is neither static nor scored; it knows no clock, so
        it goes with no prefetch.
        """
        raise NotImplementedError


CANDIDATE = np.dtype([("layer", "i4"), ("expert", "i4"), ("priority", "i4")])
"""An expert to fetch ahead; a smaller priority (0 or more) goes first, all behind fetches on
demand.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foresight:
    """What a prefetcher may look at. The future in it is for predictors of stated accuracy: no
    system sees it.

    ``residency`` is that at time 0; ``tokens`` [pass, layer, expert]; ``expert_ids`` [sequence,
    token, MoE layer, rank], drawn from ``routing`` with ``seed``: what a system has seen of other
    requests comes from its ``other_requests``. ``shared`` keeps what depends on these alone, and on
    model, popularity and batch, for other runs over the draw; a store serves draws of one routing.
    """

    problem: Problem
    residency: Residency
    routing: "Routing"
    passes: Passes
    tokens: NDArray[np.int32]
    expert_ids: NDArray[np.int16]
    seed: int
    shared: Shared | None = None

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What ``make`` gives, which must not depend on machine, residency or budgets; runs over
        the draw have it in common by ``key``.
        """
        return (
            make() if self.shared is None else self.shared.get(self.tokens, (key, self.seed), make)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What to fetch after each gate, and what is known for eviction.

    ``candidates[first[g]:first[g + 1]]`` belong to gate g = pass · layers + layer; behind the gates
    there may be one more entry a pass, for what is named when it starts. ``forecast`` [pass + 1,
    layer, expert] holds predicted shares (None: there are none): row 0 before the run, row p + 1
    those of pass p, of which a gate knows the layers up to ``reach`` beyond its own; of the others
    it knows the row before.

    Where there are ``chances`` [step], a gate also weighs for itself, by simulating the next
    layers, what to fetch for them: ``expected`` [step, pass, layer, expert] tokens, as foreseen
    step + 1 layers before, of which each expert is right with that chance.
    """

    first: NDArray[np.int64]
    candidates: NDArray[np.void]
    forecast: NDArray[np.float32] | None = None
    reach: int = 0
    expected: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int32))
    chances: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


class Prefetch:
    """Decides what is fetched ahead of its gate.

    What it names, or expects, depends on gates alone, not on the clock: which of it is fetched,
    promoted or dropped is settled when the gate is known in time.
    """

    @property
    def is_active(self) -> bool:
        """Whether anything is ever fetched ahead."""
        return True

    @property
    def is_of_draw(self) -> bool:
        """Whether ``predict`` looks neither at machine nor residency nor budgets; then runs over
        the same draw share what it says.
        """
        return False

    @property
    def num_chunks(self) -> int:
        """Pieces of a copy, between which one on demand may go first."""
        return 1

    @property
    def drops_stale(self) -> bool:
        """Whether a prefetch that has not begun when its layer's gate does not want it is taken
        back.
        """
        return True

    @property
    def max_waiting(self) -> int | None:
        """Most prefetches that may be on their way at once (None: any number): a gate's further
        candidates are passed over.
        """
        return None

    @property
    def lookup_ns(self) -> int:
        """Time to find a gate's candidates."""
        return 0

    @property
    def is_lookup_awaited(self) -> bool:
        """Whether the layer waits for the lookup, or it runs aside."""
        return False

    @property
    def is_copy_awaited(self) -> bool:
        """Whether the next layer waits for what was fetched ahead."""
        return False

    @property
    def copies_in_turn(self) -> bool:
        """Whether what is fetched ahead comes one by one over all links, behind the experts of the
        layer where those run in turn.
        """
        return False

    @property
    def pauses_on_miss(self) -> bool:
        """Whether no prefetch begins on the link of any GPU while a missing expert is copied to
        one; each link by itself always does so.
        """
        return False

    @property
    def update_ns(self) -> int:
        """Time that storing what a pass has shown takes, aside."""
        return 0

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foretold:
    """What a pass runs by prediction: ``tokens`` [layer, expert] of experts in all its layers;
    which ``layers`` [layer] are predicted.

    A predicted layer runs no gate of its own: the layer before runs it, and starts the experts that
    go to the CPU.
    """

    tokens: NDArray[np.int32]
    layers: NDArray[np.bool_]


class Dispatch(ABC):
    """Decides what happens to a missing expert, and where a layer that is not resident runs."""

    @property
    def foretells(self) -> bool:
        """Whether ``foretell`` is asked; such a policy is lossy."""
        return False

    def foretell(
        self,
        foresight: Foresight,
        index: int,
        held: NDArray[np.bool_],
        can_precede: NDArray[np.bool_],
    ) -> Foretold | None:
        """What pass ``index`` runs by prediction, given what the GPU holds [layer, expert] before
        it; None: it follows its gates.

        Only layers of ``can_precede`` [layer] may be predicted. Every expert that such a pass does
        not find on the GPU goes to the CPU.
        """
        return None

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """Which compiled rule decides over misses."""

    @property
    def spills_residents(self) -> bool:
        """Whether the CPU may run experts that the GPU holds."""
        return False

    def believed(self, layer: int, max_tokens: int, problem: Problem) -> Belief:
        """What the rule weighs: prices of an expert over 0 to max_tokens tokens; by default, those
        of the machine.
        """
        return belief("priced", layer, max_tokens, problem)

    def assign(
        self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem
    ) -> NDArray[np.uint8] | None:
        """An Action per expert [..., expert], for a dispatch that decides in Python; None, the
        default: the compiled ``rule`` decides.

        CPU or FETCH where ``is_miss``, elsewhere IDLE, or CPU for a resident that is to run there.
        Leading axes are independent cases.
        """
        return None

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """A LayerMode [pass, layer], given the tokens of each pass; by default a layer that is not
        resident runs on the CPU.
        """
        modes = np.where(residency.dense, LayerMode.GPU, LayerMode.CPU).astype(np.uint8)
        return np.broadcast_to(modes, (len(num_tokens), len(modes)))

    def head_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """A LayerMode [pass] for the vocabulary projection; by default it runs where it lies."""
        return np.full(
            len(num_tokens), LayerMode.GPU if residency.has_head else LayerMode.CPU, np.uint8
        )
