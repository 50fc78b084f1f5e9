"""The accelerator's slots for experts that come and go: the expert and last reader of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.engine.task import NONE
from sim.step.lowering.slots import ABSENT
from validation.backend.accelerator_memory import expert_buffer
from validation.backend.crossing import ON_HOST
from validation.backend.ticket import Ticket
from validation.backend.weights import Block, Weights


@dataclass(slots=True, kw_only=True, eq=False)
class _Slot:
    """One buffer, as a block of each layer's shape, and the last task that reads or writes it.

    ``number`` is its place among all buffers.
    """

    blocks: Sequence[Block]
    number: int
    last: Ticket | None = None


class SlotArena:
    """As many buffers as experts were resident at the start.

    The simulator's cache decides which experts leave, and the arena follows. ``states`` [layer,
    expert] are the cache's own. A buffer's expert has left if its entry is absent, or if another
    copy brought it anew.
    """

    def __init__(
        self,
        weights: Weights,
        residency: Residency,
        states: NDArray[np.void],
        device: torch.device = ON_HOST,
        *,
        is_global: bool,
    ) -> None:
        self._states = states
        self._is_global = is_global
        owners = np.argwhere(residency.experts)
        # What each buffer holds, and the number of the copy that brought it. In arrays, since each
        # copy asks all of them who has left, on a core that computes besides.
        self._layers = owners[:, 0].copy()
        self._experts = owners[:, 1].copy()
        self._copies = np.full(len(owners), NONE, np.int64)
        self._is_free = np.zeros(len(owners), bool)
        self._slots: list[_Slot] = []
        self._held: dict[tuple[int, int], list[_Slot]] = {}
        for number, (layer, expert) in enumerate(owners.tolist()):
            slot = _Slot(blocks=expert_buffer(weights, device), number=number)
            slot.blocks[layer].copy_from(weights.layers[layer].experts[expert])()
            self._slots.append(slot)
            self._held[layer, expert] = [slot]

    def bring(self, layer: int, expert: int, copy: Ticket, number: int) -> Block:
        """Return a buffer for an expert that copy ``number`` brings.

        The copy waits for the task that still reads or writes the buffer.
        """
        slot = self._vacated(layer, copy)
        # The simulator lets the copy begin when its cache made room; here it must not overwrite
        # what is still read.
        if slot.last is not None and slot.last not in copy.waits:
            copy.waits = (*copy.waits, slot.last)
        self._layers[slot.number] = layer
        self._experts[slot.number] = expert
        self._copies[slot.number] = number
        self._is_free[slot.number] = False
        slot.last = None
        # A list, because an expert may come back while its former buffer is still read.
        self._held.setdefault((layer, expert), []).append(slot)
        return slot.blocks[layer]

    def use(self, layer: int, expert: int, user: Ticket) -> Block:
        """Return the buffer of an expert, and note the task as its last reader."""
        slot = self._held[layer, expert][-1]
        slot.last = user
        return slot.blocks[layer]

    def give_up(self, layer: int, expert: int, copy: Ticket) -> None:
        """Take a prefetch back; if its copy runs all the same, the next copy into its buffer waits
        for it.
        """
        slot = self._held[layer, expert].pop()
        slot.last = copy
        self._is_free[slot.number] = True

    def _vacated(self, layer: int, copy: Ticket) -> _Slot:
        """Return a free buffer, or else one whose expert has left.

        Of the latter, one whose last reader the copy waits for anyway comes first, then one that
        nobody read.
        """
        serves = np.ones(len(self._slots), bool) if self._is_global else self._layers == layer
        free = np.flatnonzero(serves & self._is_free)
        if len(free):
            return self._slots[int(free[0])]
        leaving = [
            self._slots[number] for number in np.flatnonzero(serves & self._have_left()).tolist()
        ]
        assert leaving, f"the cache makes room in layer {layer} that the arena does not have"
        # Whichever delays the copy least: one that it waits for anyway, or one that nobody read.
        slot = min(
            leaving, key=lambda one: 0 if one.last in copy.waits else 1 if one.last is None else 2
        )
        self._held[self._layers[slot.number], self._experts[slot.number]].remove(slot)
        return slot

    def _have_left(self) -> NDArray[np.bool_]:
        """Which buffers hold an expert that has left [slot]."""
        owners = self._states[self._layers, self._experts]
        found: NDArray[np.bool_] = (owners["status"] == ABSENT) | (owners["copy"] != self._copies)
        return found
