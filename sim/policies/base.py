"""The five parts a policy is made of, and what they are told.

A part is configuration: frozen, its parameters are its fields. A run calls, in this order:
``placement.place`` once; ``cache.start`` once; then for every layer of every forward pass, when its
gate is known, ``classify`` of the cache, ``assign`` of the dispatch for the misses, ``admit`` of
the cache for what is fetched. ``overlap`` says what may run at once.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Infeasible, Residency
from sim.policies.actions import LayerMode
from sim.policies.belief import Belief, Source, belief
from sim.policies.cache.score import Score
from sim.policies.dispatch.rule import Rule
from sim.policies.foresight import Foresight, Foretold, Predictions
from sim.policies.problem import Problem
from sim.workload.batch import Passes

if TYPE_CHECKING:
    pass

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

    is_static: bool = False
    """Whether what starts on the GPU stays there."""

    @property
    def score(self) -> Score | None:
        """What experts are kept for, where compiled code decides."""
        return None

    is_global: bool = False
    """Whether one budget serves all layers."""

    is_emptied: bool = False
    """Whether all that is held is given up once a pass has run; such a cache starts empty."""

    starts_empty: bool = False
    """Whether no slot holds an expert at time 0."""

    writes_back: bool = False
    """Whether an expert that leaves is copied to the host."""

    alpha: float = 0.0
    """The weight of a new gate, for the gate scores."""

    kept_per_choice: int = 0
    """How many shares count for each expert that a token selects, for the gate scores."""

    def start(self, residency: Residency) -> CacheState:
        """The cache at time 0, for a cache that is neither static nor scored; it knows no clock, so
        it goes with no prefetch.
        """
        raise NotImplementedError


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


class Dispatch(ABC):
    """Decides what happens to a missing expert, and where a layer that is not resident runs."""

    believed_cost: Source = "priced"
    """Whose prices the rule weighs; by default those of the machine."""

    foretells: bool = False
    """Whether ``foretell`` is asked; such a policy is lossy."""

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
        that ``believed_cost`` names.
        """
        return belief(self.believed_cost, layer, max_tokens, problem)

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
