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
    """A prefetch of it has not ended when the gate asks for it: the run waits for the rest of the
    copy.
    """
    DEFERRED = 6
    """Run on the CPU, and joined one layer late: the next layer works without its result. Lossy."""
    AHEAD = 7
    """Run on the CPU, started by the layer before on a prediction, with that layer's hidden state.

    Lossy.
    """
    PAGED = 8
    """Run on the GPU, with weights that come page by page while the layer before runs, whatever its
    gate says.
    """
    EARLY = 9
    """Run on the GPU, with weights whose copy through a buffer began ahead of the gate, whatever
    that says. Counts as a miss.
    """


ON_CPU = (Action.CPU, Action.DEFERRED, Action.AHEAD)
"""Actions that the CPU carries out."""


class LayerMode(IntEnum):
    """Where a layer's dense part runs: from GPU memory, on the CPU, or on the GPU after the whole
    layer was copied there.

    PIPELINE: from GPU memory, micro-batch by micro-batch, attention where the KV cache lies,
    experts that are not resident paged in.
    """

    GPU = 0
    CPU = 1
    STREAM = 2
    PIPELINE = 3
