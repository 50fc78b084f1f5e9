"""Whole layers (and the head) copied to the accelerator: as early as a buffer is free, as a program
known beforehand would.
"""

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import NONE, TaskKind
from sim.policies.actions import LayerMode
from validation.backend.copying import Copy
from validation.backend.emission import H2D, Emission
from validation.backend.static_parts import StaticParts
from validation.backend.ticket import Ticket
from validation.backend.weights import Block, LayerWeights

Place = tuple[int, int]
"""A pass and a layer of it; NONE for the head, which comes last."""


class LayerRing:
    """The ring of layer buffers.

    The simulator knows at time 0 which layers are streamed and submits their copies then. Here the
    gate of a layer is awaited before what follows is submitted, so copies of later layers that no
    decision can come before are submitted ahead, in the same order.
    """

    def __init__(
        self, parts: StaticParts, emission: Emission, is_serial: NDArray[np.bool_]
    ) -> None:
        self._emission = emission
        self._weights = parts.weights
        self._memory = parts.memory
        self._prices = parts.prices
        self._passes = parts.passes
        self._is_serial = is_serial
        self._dispatching = parts.dispatching
        self._places = [
            (index, layer)
            for index in range(len(parts.passes))
            for layer in (*range(len(parts.weights.layers)), NONE)
            if layer != NONE or parts.prices.head[index] >= 0
        ]
        self._streams = [place for place in self._places if self._mode(place) == LayerMode.STREAM]
        self._number_of = {place: number for number, place in enumerate(self._streams)}
        self._position_of = {place: number for number, place in enumerate(self._places)}
        self._last_uses: list[Ticket] = []
        self._early: dict[Place, Ticket] = {}

    def fetch(self, place: Place) -> Ticket:
        """The copy of a layer whose turn has come."""
        early = self._early.pop(place, None)
        if early is not None:
            return self._emission.claim(early)
        duration_ns = self._duration_ns(place)
        layer = place[1]
        return self._emission.append(
            H2D,
            TaskKind.LAYER_FETCH,
            layer,
            NONE,
            duration_ns,
            self._copy(place),
            self._free(place),
        )

    def release(self, last_use: Ticket) -> None:
        """The last use of the oldest buffer not yet released is that task."""
        self._last_uses.append(last_use)

    def run_ahead(self, place: Place) -> None:
        """Submit copies of the layers after that one, as far as nothing decided later goes before
        them on the link.
        """
        for later in self._places[self._position_of[place] : len(self._places)]:
            # In a serial pass nothing runs ahead; and a copy that a gate may still ask for goes
            # first.
            if self._is_serial[later[0]] or not self._is_quiet(later):
                return
            if later in self._number_of and later != place and later not in self._early:
                # All buffers are taken by layers that have not been used.
                if self._number_of[later] >= self._num_buffers + len(self._last_uses):
                    return
                step = int(self._passes.step[later[0]])
                self._early[later] = self._submit_ahead(later, step)

    def layer(self, place: Place) -> LayerWeights:
        """The buffer a streamed layer is read from."""
        return self._memory.layer_buffers[self._number_of[place] % self._num_buffers][place[1]]

    def top(self, place: Place) -> Block:
        """The buffer that the streamed head is read from."""
        return self._memory.top_buffers[self._number_of[place] % self._num_buffers]

    @property
    def _num_buffers(self) -> int:
        return len(self._memory.layer_buffers)

    def _submit_ahead(self, place: Place, step: int) -> Ticket:
        duration_ns = self._duration_ns(place)
        return self._emission.ahead(
            H2D,
            TaskKind.LAYER_FETCH,
            place[1],
            duration_ns,
            self._copy(place),
            step,
            self._free(place),
        )

    def _free(self, place: Place) -> Ticket | None:
        """The last use of what the buffer held before."""
        before = self._number_of[place] - self._num_buffers
        return self._last_uses[before] if before >= 0 else None

    def _copy(self, place: Place) -> Copy:
        if place[1] == NONE:
            return self.top(place).copy_from(self._weights.top)
        return self.layer(place).copy_from(self._weights.layers[place[1]])

    def _duration_ns(self, place: Place) -> int:
        return int(
            self._prices.head_fetch if place[1] == NONE else self._prices.layer_fetch[place[1]]
        )

    def _mode(self, place: Place) -> int:
        index, layer = place
        return int(
            self._dispatching.head_modes[index]
            if layer == NONE
            else self._dispatching.modes[index, layer]
        )

    def _is_quiet(self, place: Place) -> bool:
        """Whether nothing but its own streaming goes over the link in that layer, whatever its gate
        selects.
        """
        mode = self._mode(place)
        return mode == LayerMode.STREAM or (
            mode == LayerMode.GPU and (place[1] == NONE or self._dispatching.holds_all(place[1]))
        )
