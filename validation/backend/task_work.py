"""The real work of each task of a run: the simulator's tasks, bound to weights and buffers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action, LayerMode
from sim.step.lowering.draft import CPU, D2H, Draft
from sim.workload.batch import Passes
from validation.backend.accelerator_memory import AcceleratorMemory, expert_buffer
from validation.backend.copying import Copy
from validation.backend.crossing import ON_HOST
from validation.backend.forward_pass import Sequences
from validation.backend.plain import pass_of
from validation.backend.slot_arena import SlotArena
from validation.backend.ticket import Ticket, Work
from validation.backend.weights import Block, Weights

_TO_SLOT = (TaskKind.SLOT_FETCH, TaskKind.PREFETCH)
_STAGED = (TaskKind.FETCH, TaskKind.EARLY_FETCH)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunParts:
    """The parts of a run: ``passes`` of ``sequences``, ``weights``, and the accelerator's memory.

    Experts change places in ``arena``; it is None if experts stay in ``memory``.
    """

    passes: Passes
    sequences: Sequences
    weights: Weights
    memory: AcceleratorMemory
    arena: SlotArena | None = None


class TaskWork:
    """Gives tasks their work, in the order of their numbers; ``index`` is the current pass."""

    def __init__(self, draft: Draft, parts: RunParts) -> None:
        self.index = 0
        self._draft = draft
        self._weights = parts.weights
        self._memory = parts.memory
        self._arena = parts.arena
        self._parts = parts
        self._modes = draft.sheet.work["mode"]
        self._num_staged = 0
        self._num_streamed = 0
        self._begin_pass()
        if parts.arena is not None:
            is_pinned = parts.memory.device != ON_HOST
            # An evicted expert is written here and never read: the host still has its weights.
            self._spilled = expert_buffer(parts.weights, ON_HOST, is_pinned=is_pinned)

    def bind(self, ticket: Ticket, number: int) -> None:
        """Give the task its work.

        The tickets that the task waits for are known by now; more may be added.
        """
        # A pass is over with the task that was noted as its last when it was emitted.
        while 0 < self._draft.last_task[self.index] < number and self.index + 1 < len(self._modes):
            self.index += 1
            self._begin_pass()
        binder = _BINDERS.get(ticket.kind, TaskWork._dense)
        ticket.work = binder(self, ticket, number)

    def layer_copy(self, number: int, layer: int) -> Copy:
        """The copy of a layer (NONE: the head) that is the ``number``-th to be streamed."""
        if layer == NONE:
            buffer = self._memory.top_buffers[number % len(self._memory.top_buffers)]
            return buffer.copy_from(self._weights.top)
        buffers = self._memory.layer_buffers[number % len(self._memory.layer_buffers)]
        return buffers[layer].copy_from(self._weights.layers[layer])

    def give_up(self, copy: Ticket) -> None:
        """Take a prefetch back."""
        assert self._arena is not None, "experts that stay are not prefetched"
        self._arena.give_up(copy.layer, copy.expert, copy)

    def claim_layer(self) -> None:
        """Note that the turn of the next streamed layer has come; later tasks read its buffer."""
        self._num_streamed += 1

    def _begin_pass(self) -> None:
        parts = self._parts
        self._pass = pass_of(parts.weights, parts.sequences, parts.passes, self.index)
        self._attended = NONE
        self._staged: dict[tuple[int, int], Block] = {}

    def _nothing(self, ticket: Ticket, number: int) -> None:
        """Return no work: the task is a stated time."""
        del ticket, number

    def _layer_fetch(self, ticket: Ticket, number: int) -> Work:
        del number
        copy = self.layer_copy(self._num_streamed, ticket.layer)
        self.claim_layer()
        return copy

    def _copy(self, ticket: Ticket, number: int) -> Work:
        """Return the copy of one expert: to a staging buffer, to a slot, or from a slot to the
        host.
        """
        place = ticket.layer, ticket.expert
        source = self._weights.layers[ticket.layer].experts[ticket.expert]
        if ticket.kind in _STAGED:
            # Buffers are used in turn, as the simulator's dependencies say.
            buffers = self._memory.expert_buffers
            self._staged[place] = buffers[self._num_staged % len(buffers)][ticket.layer]
            self._num_staged += 1
            return self._staged[place].copy_from(source)
        assert self._arena is not None, "experts that stay are not copied to slots"
        if ticket.kind is TaskKind.EVICT:
            return self._spilled[ticket.layer].copy_from(self._arena.use(*place, ticket))
        return self._arena.bring(*place, ticket, number).copy_from(source)

    def _expert(self, ticket: Ticket, number: int) -> Work:
        del number
        current = self._pass
        expert = ticket.expert
        if ticket.resource != CPU:
            block = self._held(ticket)
            return _quietly(lambda: current.run_expert(expert, block))
        own = self._weights.layers[ticket.layer].experts[expert]
        if self._modes[self.index, ticket.layer] == LayerMode.CPU:
            return _quietly(lambda: current.run_expert(expert, own))
        return _quietly(lambda: current.run_sent_expert(expert, own))

    def _held(self, ticket: Ticket) -> Block:
        """Return the accelerator's block of an expert."""
        place = ticket.layer, ticket.expert
        # A staged expert is used once.
        if place in self._staged:
            return self._staged.pop(place)
        if self._arena is not None:
            return self._arena.use(*place, ticket)
        if self._modes[self.index, ticket.layer] == LayerMode.STREAM:
            buffers = self._memory.layer_buffers
            return buffers[(self._num_streamed - 1) % len(buffers)][ticket.layer].experts[
                ticket.expert
            ]
        return self._memory.experts[place]

    def _activations(self, ticket: Ticket, number: int) -> Work:
        del number
        current = self._pass
        # Ahead of attention, and of the head, the hidden state moves to where the layer runs.
        if ticket.layer != self._attended or ticket.layer == NONE:
            place = ON_HOST if ticket.resource == D2H else self._memory.device
            only_last = ticket.layer == NONE
            return lambda: current.move(place, only_last=only_last)
        if ticket.resource != D2H:
            return current.bring_back
        actions = self._draft.sheet.actions[self.index, ticket.layer]
        experts = np.flatnonzero(actions == Action.CPU).tolist()
        return lambda: current.send(experts)

    def _dense(self, ticket: Ticket, number: int) -> Work:
        """Return the work of a layer outside its routed experts, or of the head."""
        del number
        current = self._pass
        layer = ticket.layer
        if ticket.kind is TaskKind.HEAD:
            top = self._top(ticket)
            return _quietly(lambda: current.finish(top))
        dense = self._dense_block(ticket)
        if ticket.kind is TaskKind.GATE:
            return self._gate(layer, dense)
        if ticket.kind is TaskKind.ATTENTION:
            self._attended = layer
        works: dict[TaskKind, Callable[[], None]] = {
            TaskKind.ATTENTION: lambda: current.attend(layer, dense),
            TaskKind.SHARED_EXPERT: lambda: current.feed_shared(dense),
            TaskKind.DENSE_FFN: lambda: current.feed_dense(dense),
        }
        return _quietly(works[ticket.kind])

    def _dense_block(self, ticket: Ticket) -> Block:
        if ticket.resource == CPU:
            return self._weights.layers[ticket.layer].dense
        if self._modes[self.index, ticket.layer] == LayerMode.STREAM:
            buffers = self._memory.layer_buffers
            return buffers[(self._num_streamed - 1) % len(buffers)][ticket.layer].dense
        return self._memory.dense[ticket.layer]

    def _top(self, ticket: Ticket) -> Block:
        if ticket.resource == CPU:
            return self._weights.top
        if self._memory.top is not None:
            return self._memory.top
        buffers = self._memory.top_buffers
        return buffers[(self._num_streamed - 1) % len(buffers)]

    def _gate(self, layer: int, dense: Block) -> Work:
        current = self._pass
        tokens_E = self._draft.sheet.tokens[self.index, layer]

        def work() -> int:
            """Select experts, and note the tokens of each."""
            selected_E = current.select(layer, dense)
            # The row may still hold what was foreseen.
            tokens_E[:] = 0
            tokens_E[: len(selected_E)] = selected_E
            return 0

        return work


Binder = Callable[[TaskWork, Ticket, int], Work | None]
"""Function that returns the work of a task of that number, or None if it has none."""

# A table, since Python looks members of an enumeration up slowly, and every task is asked.
_BINDERS: Mapping[TaskKind, Binder] = {
    TaskKind.OVERHEAD: TaskWork._nothing,
    TaskKind.LOOKUP: TaskWork._nothing,
    TaskKind.LAYER_FETCH: TaskWork._layer_fetch,
    **dict.fromkeys((*_TO_SLOT, *_STAGED, TaskKind.EVICT), TaskWork._copy),
    TaskKind.EXPERT: TaskWork._expert,
    TaskKind.ACTIVATION_COPY: TaskWork._activations,
}
"""Binders by kind of task; all other kinds are a layer's work outside its routed experts."""


def _quietly(does: Callable[[], None]) -> Work:
    """Return work that does something and copies no bytes."""

    def work() -> int:
        """Do it, and return 0 copied bytes."""
        does()
        return 0

    return work
