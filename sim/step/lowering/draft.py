"""A run while it is written down as tasks: the records that it is made from, and how a task is
made.

The functions are compiled.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner
from sim.engine.task import NONE, TaskKind
from sim.step.rules.around import Whole

GPU, H2D, D2H, CPU, HOST = range(5)
"""Resource numbers of a run on one GPU; GPU, H2D and D2H are those of GPU 0.

``lane_of`` gives the numbers for further GPUs.
"""

STATE_SIZE = 11
N, M, PREVIOUS, JOIN_A, JOIN_B, PLACE, STAGED, STREAMED, IS_SERIAL, STEP, NUM_JOINS = range(
    STATE_SIZE
)
"""Slots of the running state.

N and M are the tasks and dependencies so far, PREVIOUS is the last task. JOIN_A and JOIN_B are the
two ends that the next layer waits for. PLACE is where the hidden state is. STAGED and STREAMED are
the buffers of experts and of layers used so far. IS_SERIAL says whether one task runs at a time.
STEP is the output token. NUM_JOINS is the number of further ends to wait for.

The further ends stand after the slots, those of further GPUs first. Then comes STAGED of each
further GPU. Last comes, for each further GPU, the copy that brings a layer's hidden states (NONE:
there is none).
"""

_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_EVICT = int(TaskKind.EVICT)
_NONE = NONE


# Records, not an array a column: compiled calls pass few arguments, and compile fast.
ROW = np.dtype(
    [
        ("duration_ns", "i8"),
        ("num_bytes", "i8"),
        ("end_of_dependencies", "i8"),
        ("priority", "i4"),
        ("num_chunks", "i4"),
        ("step", "i4"),
        ("expert", "i4"),
        ("resource", "i2"),
        ("layer", "i2"),
        ("kind", "u1"),
    ],
    align=True,
)
"""A task under construction."""

LAYER = np.dtype(
    [
        (name, "i8")
        for name in ("shape", "is_moe", "fetch", "evict", "expert_bytes", "is_border", "read")
    ]
)
"""A layer: its shape, the price of copies of its experts (ns) and their size (bytes).

``is_border`` says whether the layer before lies on another card. ``read`` is the time of reading
one expert from the disk, in ns.
"""

TO_GPU, FROM_GPU, ACROSS = range(3)
"""Kinds of copies of hidden states: from the host, to the host, and from one GPU to another."""

SHARE = np.dtype([(name, "i8") for name in ("fetch", "num_bytes")])
"""The copy of everything that one GPU runs of a layer: its time (ns) and its size (bytes)."""

WORK = np.dtype([(name, "i8") for name in ("mode", "attention", "gate", "ffn")])
"""Where a layer runs in a pass (``mode``, of LayerMode), and what its work takes there, in ns."""

PASS = np.dtype(
    [
        (name, "i8")
        for name in ("step", "num_tokens", "num_sequences", "is_serial", "head_mode", "head")
    ]
)
"""A pass: what it feeds, whether one task runs at a time, and its vocabulary projection.

``head`` is in ns; it is NONE if the pass has no vocabulary projection.
"""

RUN = np.dtype(
    [
        (name, "i8")
        for name in (
            *(
                "head_fetch",
                "head_bytes",
                "activation_bytes",
                "group_gpu",
                "least_gpu",
                "group_cpu",
                "layer_overhead",
                "step_overhead",
            ),
            *("num_gpus", "first_peer", "hand_over", "is_direct"),
        )
    ]
)
"""What holds for the whole run.

``first_peer`` is the resource number of GPU 1; its two directions of copies follow. ``hand_over``
is the time (ns) in which every MoE layer on the GPU reaches the CPU pool. If it is 0, only layers
with experts on the CPU reach the pool. ``is_direct`` says whether hidden states go directly from
one GPU to another (1) or through the host (0).
"""


SHELF = np.dtype([(name, "i8") for name in ("is_there", "read", "older", "newer")])
"""An expert in host memory.

``is_there`` is 1 if host memory holds the expert. ``read`` is the task that read it from the disk
(NONE: it was there at the start). ``older`` and ``newer`` are its neighbours in the order of last
use, as layer · experts + expert (NONE: there is none).
"""

DISK = np.dtype([(name, "i8") for name in ("resource", "left_bytes", "keeps", "oldest", "newest")])
"""The disk and the shelf in host memory before it.

``resource`` is the disk's resource number, ``left_bytes`` the free room on the shelf. ``keeps`` is
1 if an expert that is read replaces the least recently used ones, 0 if it is not kept. ``oldest``
and ``newest`` are both ends of the order of last use.
"""


class Sheet(NamedTuple):
    """What compiled code reads of a run: few arrays of records, for the same reason as ROW.

    ``tokens`` and ``actions`` are [pass, layer, expert]. ``leaving`` has the same shape, as in
    Decisions; it is empty if nothing is swapped. ``work`` is [pass, layer]. ``experts`` is ns [GPU
    or CPU; layer shape; tokens]. ``activations`` is ns [layer shape; TO_GPU, FROM_GPU or ACROSS;
    tokens]. ``shares`` is [layer, GPU] of SHARE. ``run`` has one record. ``shelf`` [layer, expert]
    of SHELF is what host memory holds, if it has no room for all experts; else it is empty.
    ``disk`` has one record of DISK. ``shelf`` and ``disk`` change as tasks are emitted.
    """

    tokens: NDArray[np.int32]
    actions: NDArray[np.uint8]
    passes: NDArray[np.void]
    layers: NDArray[np.void]
    work: NDArray[np.void]
    experts: NDArray[np.int64]
    activations: NDArray[np.int64]
    shares: NDArray[np.void]
    run: NDArray[np.void]
    leaving: NDArray[np.int16]
    shelf: NDArray[np.void]
    disk: NDArray[np.void]


class Draft(NamedTuple):
    """A run on its way from decisions to tasks.

    ``rows`` are of ROW, and ``dependencies`` are those of all rows, one row after another.
    ``state`` is the running state. ``expert_ring`` and ``layer_ring`` [GPU, buffer] hold the task
    that last used each staging buffer. ``last_task`` [pass] is filled with the task that completes
    each pass.
    """

    rows: NDArray[np.void]
    dependencies: NDArray[np.int64]
    state: NDArray[np.int64]
    sheet: Sheet
    expert_ring: NDArray[np.int64]
    layer_ring: NDArray[np.int64]
    last_task: NDArray[np.int64]


class Moment(NamedTuple):
    """A layer of a pass, whose number is ``pass_index``; ``stamp`` numbers the layers of all
    passes.

    The start of a pass, before any of its layers, has the layer NONE. Its stamp is larger than
    those of all layers.
    """

    pass_index: Whole
    layer: Whole
    stamp: Whole


@inner
def moment_of(sheet, index, layer):
    """The moment of a layer in a pass."""
    return Moment(np.int64(index), np.int64(layer), np.int64(index * sheet.work.shape[1] + layer))


@inner
def start_of_pass(sheet, index):
    """Return the moment before any gate of a pass."""
    # Its stamp stands behind those of the gates, so that what is indexed by gates keeps its places.
    return Moment(np.int64(index), np.int64(_NONE), np.int64(sheet.work.size + index))


@inner
def begin_pass(draft, index):
    """Make all tasks that are emitted from now on belong to a pass."""
    draft.state[IS_SERIAL] = draft.sheet.passes[index].is_serial
    draft.state[STEP] = draft.sheet.passes[index].step


@inner
def wait_for(draft, task):
    """Make the task that is emitted next wait for ``task``; NONE adds nothing."""
    if task >= 0:
        draft.dependencies[draft.state[M]] = task
        draft.state[M] += 1


@inner
def append(draft, resource, duration_ns, kind, layer):
    """Emit a task that belongs to no expert and moves no bytes; return its number.

    In a serial pass the task also waits for the task before it.
    """
    state = draft.state
    number = state[N]
    if state[IS_SERIAL] == 1:
        wait_for(draft, state[PREVIOUS])
    row = draft.rows[number]
    row.resource = resource
    row.duration_ns = duration_ns
    row.kind = kind
    row.step = state[STEP]
    row.layer = layer
    row.expert = _NONE
    row.num_bytes = 0
    row.priority = -1 if kind == _ACTIVATIONS else 0  # on a copy engine, tokens go before weights
    row.num_chunks = 1
    row.end_of_dependencies = state[M]
    state[N] = number + 1
    state[PREVIOUS] = number
    return number


@inner
def append_copy(draft, resource, duration_ns, kind, layer, num_bytes):
    """Emit a copy of ``num_bytes`` bytes that belongs to no expert; return its number."""
    number = append(draft, resource, duration_ns, kind, layer)
    draft.rows[number].num_bytes = num_bytes
    return number


@inner
def append_weights(draft, resource, kind, layer, expert):
    """Emit a copy of an expert's weights: to the host if it is evicted, else to the GPU."""
    copied = draft.sheet.layers[layer]
    duration_ns = copied.evict if kind == _EVICT else copied.fetch
    number = append_copy(draft, resource, duration_ns, kind, layer, copied.expert_bytes)
    draft.rows[number].expert = expert
    return number


@inner
def append_activations(draft, way, tokens, layer):
    """Emit a copy of ``tokens`` tokens' hidden states between the host and the card of the layer.

    ``way`` is H2D or D2H.
    """
    duration_ns = hidden_ns(draft.sheet, TO_GPU if way == H2D else FROM_GPU, tokens, layer)
    return append_hidden(draft, way, duration_ns, tokens, layer)


@inner
def append_hidden(draft, lane, duration_ns, tokens, layer):
    """Emit a copy of ``tokens`` tokens' hidden states on a lane."""
    num_bytes = tokens * draft.sheet.run[0].activation_bytes
    return append_copy(draft, lane, duration_ns, _ACTIVATIONS, layer, num_bytes)


@inner
def hidden_ns(sheet, which, tokens, layer):
    """Return the time (ns) of a copy of ``tokens`` tokens' hidden states on the card of a layer.

    ``which`` is TO_GPU, FROM_GPU or ACROSS. The layer NONE stands for the head.
    """
    # The head is on the card of the last layer.
    own = layer if layer >= 0 else sheet.layers.shape[0] - 1
    return sheet.activations[sheet.layers[own].shape, which, tokens]


@inner
def leave_order(draft):
    """Exempt the next tasks from the order of a serial pass; return what
    ``return_to_order`` needs.
    """
    before = draft.state[PREVIOUS], draft.state[IS_SERIAL]
    draft.state[IS_SERIAL] = 0
    return before


@inner
def return_to_order(draft, before):
    """Restore the order of a serial pass, without the tasks emitted since ``leave_order``.

    No later task waits for these tasks unless it is told to.
    """
    draft.state[PREVIOUS] = before[0]
    draft.state[IS_SERIAL] = before[1]


@inner
def wait_for_join(draft):
    """Make the task that is emitted next wait for the last task of each lane in the
    layer before.
    """
    state = draft.state
    wait_for(draft, state[JOIN_A])
    wait_for(draft, state[JOIN_B])
    for place in range(STATE_SIZE, STATE_SIZE + state[NUM_JOINS]):
        wait_for(draft, state[place])


@inner
def set_join(draft, first, second):
    """Set the two tasks that the next layer waits for; either may be NONE."""
    draft.state[JOIN_A] = first
    draft.state[JOIN_B] = second


@inner
def owner_of(sheet, layer, expert):
    """Return the GPU that holds an expert; experts are dealt out in turn, layer after layer."""
    # Going on from layer to layer spreads the experts where a layer has no multiple of the GPUs.
    return (layer * sheet.tokens.shape[2] + expert) % sheet.run[0].num_gpus


@inner
def lane_of(sheet, first, owner):
    """Return the resource of GPU ``owner`` that GPU 0 has as ``first`` (GPU, H2D or D2H)."""
    return first if owner == 0 else sheet.run[0].first_peer + 3 * (owner - 1) + first


@inner
def note_last(draft, owner, task, last):
    """Note that ``task`` is the last one on GPU ``owner``; return the last task on GPU 0.

    ``last`` was the last one on GPU 0. The last task on a further GPU is a further end to wait for.
    """
    if owner == 0:
        return task
    draft.state[STATE_SIZE + owner - 1] = task
    return last


@inner
def last_on(draft, owner, last):
    """Return the last task on GPU ``owner``; ``last`` is the one on GPU 0."""
    return last if owner == 0 else draft.state[STATE_SIZE + owner - 1]
