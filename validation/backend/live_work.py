"""What each task of a live run does for real: the simulator's rows, bound to weights, buffers and
activations.
"""

from collections.abc import Callable

import numpy as np

from sim.engine.task import TaskKind
from sim.policies.actions import Action
from sim.step.lowering.draft import CPU, D2H, GPU
from sim.step.lowering.live_run import LiveJob
from sim.workload.batch import Passes
from validation.backend.accelerator_memory import AcceleratorMemory, expert_buffer
from validation.backend.crossing import ON_HOST
from validation.backend.forward_pass import ForwardPass, Sequences
from validation.backend.plain import pass_of
from validation.backend.slot_arena import SlotArena
from validation.backend.ticket import Ticket, Work
from validation.backend.weights import Block, Weights

_TO_SLOT = (TaskKind.SLOT_FETCH, TaskKind.PREFETCH)
_NOTHING = (TaskKind.OVERHEAD, TaskKind.LOOKUP)


class LiveWork:
    """Binds tasks in the order of their numbers; keeps track of the pass they belong to."""

    def __init__(
        self,
        job: LiveJob,
        passes: Passes,
        weights: Weights,
        memory: AcceleratorMemory,
        arena: SlotArena,
        sequences: Sequences,
    ) -> None:
        self._job = job
        self._passes = passes
        self._weights = weights
        self._memory = memory
        self._arena = arena
        self._sequences = sequences
        self._index = -1
        self._num_staged = 0
        self._pass: ForwardPass | None = None
        self._staged: dict[tuple[int, int], Block] = {}
        # An evicted expert is written here and never read: the host still has its weights.
        self._spilled = expert_buffer(weights, ON_HOST, is_pinned=memory.device != ON_HOST)

    def bind(self, ticket: Ticket, number: int) -> None:
        """Give the task its work; what it waits for is known, and may grow."""
        # A pass begins with the attention of its first layer.
        if ticket.kind is TaskKind.ATTENTION and ticket.layer == 0:
            self._index += 1
            self._pass = pass_of(self._weights, self._sequences, self._passes, self._index)
        if ticket.kind in _NOTHING:
            return
        if ticket.kind in _TO_SLOT or ticket.kind in (TaskKind.FETCH, TaskKind.EVICT):
            ticket.work = self._copy(ticket, number)
        elif ticket.kind is TaskKind.EXPERT:
            ticket.work = self._expert(ticket)
        elif ticket.kind is TaskKind.ACTIVATION_COPY:
            ticket.work = self._activations(ticket)
        else:
            ticket.work = self._dense(ticket)

    def _copy(self, ticket: Ticket, number: int) -> Work:
        place = ticket.layer, ticket.expert
        source = self._weights.layers[ticket.layer].experts[ticket.expert]
        if ticket.kind is TaskKind.EVICT:
            return self._spilled[ticket.layer].copy_from(self._arena.use(*place, ticket))
        if ticket.kind in _TO_SLOT:
            return self._arena.bring(*place, ticket, number).copy_from(source)
        # Buffers are used in turn, as the simulator's dependencies say.
        buffer = self._memory.expert_buffers[self._num_staged % len(self._memory.expert_buffers)][
            ticket.layer
        ]
        self._num_staged += 1
        self._staged[place] = buffer
        return buffer.copy_from(source)

    def _expert(self, ticket: Ticket) -> Work:
        current = self._current
        expert = ticket.expert
        place = (ticket.layer, ticket.expert)
        if ticket.resource == CPU:
            own = self._weights.layers[ticket.layer].experts[expert]
            return _quietly(lambda: current.run_sent_expert(expert, own))
        block = (
            # A staged expert is used once; any other lies in a slot.
            self._staged.pop(place) if place in self._staged else self._arena.use(*place, ticket)
        )
        return _quietly(lambda: current.run_expert(expert, block))

    def _activations(self, ticket: Ticket) -> Work:
        current = self._current
        if ticket.resource != D2H:
            return current.bring_back
        experts = np.flatnonzero(
            self._job.sheet.actions[self._index, ticket.layer] == Action.CPU
        ).tolist()
        return lambda: current.send(experts)

    def _dense(self, ticket: Ticket) -> Work:
        """What a layer does outside its routed experts, and the head; all of it is on the
        accelerator.
        """
        assert ticket.resource == GPU, "a cache of experts needs all else on the accelerator"
        current = self._current
        layer = ticket.layer
        if ticket.kind is TaskKind.HEAD:
            top = self._memory.top
            assert top is not None, "a cache of experts needs the head on the accelerator"
            return _quietly(lambda: current.finish(top))
        dense = self._memory.dense[layer]
        if ticket.kind is TaskKind.GATE:
            return self._gate(layer, dense)
        works: dict[TaskKind, Callable[[], None]] = {
            TaskKind.ATTENTION: lambda: current.attend(layer, dense),
            TaskKind.SHARED_EXPERT: lambda: current.feed_shared(dense),
            TaskKind.DENSE_FFN: lambda: current.feed_dense(dense),
        }
        return _quietly(works[ticket.kind])

    def _gate(self, layer: int, dense: Block) -> Work:
        current = self._current
        tokens_E = self._job.sheet.tokens[self._index, layer]

        def work() -> int:
            """Select experts, and note the tokens of each."""
            selected_E = current.select(layer, dense)
            # The row may still hold what was foreseen.
            tokens_E[:] = 0
            tokens_E[: len(selected_E)] = selected_E
            return 0

        return work

    @property
    def _current(self) -> ForwardPass:
        assert self._pass is not None, "a run begins with attention"
        return self._pass


def _quietly(does: Callable[[], None]) -> Work:
    """Work that copies nothing."""

    def work() -> int:
        """Run it; it copies nothing."""
        does()
        return 0

    return work
