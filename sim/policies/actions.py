"""What may happen to an expert and to a layer; the numbers are shared with compiled code."""

from enum import IntEnum


class Action(IntEnum):
    """What happens to an expert in one layer of one pass.

    The numbers are shared with compiled code.
    """

    IDLE = 0
    RESIDENT = 1
    CPU = 2
    FETCH = 3
    SWAP = 4
    LATE = 5
    """The selected expert's prefetch has not ended when the gate asks: the run waits for the rest
    of the copy.
    """
    DEFERRED = 6
    """The expert runs on the CPU, and its result is added one layer late: the next layer works
    without it. Lossy.
    """
    AHEAD = 7
    """The expert runs on the CPU. The layer before starts it on a prediction, with its own hidden
    state. Lossy.
    """
    PAGED = 8
    """The expert runs on the GPU. Its weights come page by page while the layer before runs,
    whatever the gate selects.
    """
    EARLY = 9
    """The expert runs on the GPU. Its copy, through a staging buffer, began before its gate was
    known. Counts as a miss.
    """


ON_CPU = (Action.CPU, Action.DEFERRED, Action.AHEAD)
"""Actions that the CPU carries out."""


class LayerMode(IntEnum):
    """Where the dense part of a layer runs.

    GPU: from GPU memory. CPU: on the CPU. STREAM: on the GPU, after the whole layer was copied
    there. PIPELINE: from GPU memory, micro-batch by micro-batch. There, attention runs where the KV
    cache lies, and experts that are not resident are paged in or run on the CPU.
    """

    GPU = 0
    CPU = 1
    STREAM = 2
    PIPELINE = 3
