"""Copies of whole layers (and of the head) that run ahead, as early as a buffer is free.

The order of the copies is that of a program known beforehand.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sim.engine.task import NONE
from sim.policies.actions import LayerMode
from sim.step.lowering.draft import STREAMED
from sim.step.lowering.static_run import StaticJob

Place = tuple[int, int]
"""A pass and one of its layers; layer NONE is the head, which comes last."""


class LayerCopy(NamedTuple):
    """A copy that may be submitted: the ``number``-th layer copy of a run.

    Task ``after`` (NONE: no task) was the last to use the copy's buffer.
    """

    number: int
    step: int
    layer: int
    duration_ns: int
    after: int


class LayersAhead:
    """The layers that may be copied before their turn.

    The simulator knows at time 0 which layers are streamed, and submits their copies then. A real
    run awaits the gate of a layer before it submits what follows. So it submits copies of later
    layers ahead, in the same order, if no decision can come before them.
    """

    def __init__(self, job: StaticJob) -> None:
        sheet = job.draft.sheet
        self._job = job
        self._num_buffers = job.draft.layer_ring.shape[1]
        num_layers = sheet.work.shape[1]
        self._places = [
            (index, layer)
            for index in range(len(sheet.passes))
            for layer in (*range(num_layers), NONE)
            if layer != NONE or sheet.passes["head"][index] >= 0
        ]
        streams = [place for place in self._places if self._mode(place) == LayerMode.STREAM]
        self._number_of = {place: number for number, place in enumerate(streams)}
        self._position_of = {place: number for number, place in enumerate(self._places)}
        self._num_copied = 0

    def next_after(self, place: Place) -> Iterator[LayerCopy]:
        """Yield the copies of layers after ``place`` that no later decision can precede on the
        link.

        The gate of ``place`` is submitted already.
        """
        # With one buffer, nothing is copied ahead of its turn.
        if self._num_buffers == 1:
            return
        draft = self._job.draft
        released = int(draft.state[STREAMED])
        # That layer's own copy, if it has one, has had its turn.
        self._num_copied = max(self._num_copied, released + (place in self._number_of))
        for later in self._places[self._position_of[place] :]:
            # In a serial pass nothing runs ahead; and a copy that a gate may still ask for goes
            # first.
            if draft.sheet.passes["is_serial"][later[0]] or not self._is_quiet(later):
                return
            number = self._number_of.get(later, NONE)
            if number < self._num_copied:
                continue
            # All buffers are taken by layers that have not been used.
            if number >= self._num_buffers + released:
                return
            self._num_copied += 1
            yield LayerCopy(
                number=number,
                step=int(draft.sheet.passes["step"][later[0]]),
                layer=later[1],
                duration_ns=self._duration_ns(later[1]),
                after=int(draft.layer_ring[0, number % self._num_buffers]),
            )

    def _duration_ns(self, layer: int) -> int:
        sheet = self._job.draft.sheet
        return int(sheet.run["head_fetch"][0] if layer == NONE else sheet.shares["fetch"][layer, 0])

    def _mode(self, place: Place) -> int:
        sheet = self._job.draft.sheet
        index, layer = place
        return int(sheet.passes["head_mode"][index] if layer == NONE else sheet.work["mode"][place])

    def _is_quiet(self, place: Place) -> bool:
        """Whether only the layer's own streaming can use the link in that layer, whatever its gate
        selects.
        """
        mode = self._mode(place)
        return mode == LayerMode.STREAM or (
            mode == LayerMode.GPU and (place[1] == NONE or self._holds_all(place[1]))
        )

    def _holds_all(self, layer: int) -> bool:
        """Whether all routed experts of the layer stay on the accelerator; True for a dense
        layer.
        """
        num_experts = self._job.problem.model.layers[layer].num_experts
        return int(self._job.residency.experts[layer].sum()) == num_experts
