"""The accelerator's slots for experts that come and go: which buffer holds which expert, and what
it still waits for.
"""

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
    """One buffer, as a block of each layer's shape.

    ``copy`` is the number of the task that brought what it holds.
    """

    blocks: Sequence[Block]
    layer: int
    expert: int
    copy: int = NONE
    last: Ticket | None = None


class SlotArena:
    """As many buffers as experts were resident at the start. The simulator's cache decides who
    leaves; this follows it.

    ``states`` [layer, expert] are the cache's own: an owner whose entry is absent, or was brought
    anew by another copy, has left.
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
        self._slots: dict[tuple[int, int], list[_Slot]] = {}
        self._free: list[_Slot] = []
        for layer, expert in np.argwhere(residency.experts).tolist():
            slot = _Slot(blocks=expert_buffer(weights, device), layer=layer, expert=expert)
            slot.blocks[layer].copy_from(weights.layers[layer].experts[expert])()
            self._slots[layer, expert] = [slot]

    def bring(self, layer: int, expert: int, copy: Ticket, number: int) -> Block:
        """A buffer for an expert that the copy of that number brings; the copy waits for whatever
        still reads or writes it.
        """
        slot = self._vacated(layer, copy)
        # The simulator lets the copy begin when its cache made room; here it must not overwrite
        # what is still read.
        if slot.last is not None and slot.last not in copy.waits:
            copy.waits = (*copy.waits, slot.last)
        slot.layer = layer
        slot.expert = expert
        slot.copy = number
        slot.last = None
        # A list, because an expert may come back while its former buffer is still read.
        self._slots.setdefault((layer, expert), []).append(slot)
        return slot.blocks[layer]

    def use(self, layer: int, expert: int, user: Ticket) -> Block:
        """The buffer of an expert that the task reads."""
        slot = self._slots[layer, expert][-1]
        slot.last = user
        return slot.blocks[layer]

    def give_up(self, layer: int, expert: int, copy: Ticket) -> None:
        """Take a prefetch back; if its copy runs all the same, the next copy into its buffer waits
        for it.
        """
        slot = self._slots[layer, expert].pop()
        slot.last = copy
        self._free.append(slot)

    def _vacated(self, layer: int, copy: Ticket) -> _Slot:
        """A free buffer; else one whose expert has left: that whose last reader the copy waits for,
        or one that nobody read.
        """
        for slot in self._free:
            if self._serves(slot, layer):
                self._free.remove(slot)
                return slot
        leaving = [
            slot
            for slots in self._slots.values()
            for slot in slots
            if self._serves(slot, layer) and self._has_left(slot)
        ]
        assert leaving, f"the cache makes room in layer {layer} that the arena does not have"
        # Whichever delays the copy least: one that it waits for anyway, or one that nobody read.
        slot = min(
            leaving, key=lambda one: 0 if one.last in copy.waits else 1 if one.last is None else 2
        )
        self._slots[slot.layer, slot.expert].remove(slot)
        return slot

    def _serves(self, slot: _Slot, layer: int) -> bool:
        return self._is_global or slot.layer == layer

    def _has_left(self, slot: _Slot) -> bool:
        state = self._states[slot.layer, slot.expert]
        return bool(state["status"] == ABSENT or state["copy"] != slot.copy)
