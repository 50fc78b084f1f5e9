"""A run while it is written down as tasks: what it is made from, and what one task is. Compiled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner
from sim.engine.task import NONE, TaskKind
from sim.step.rules.around import Whole

GPU, H2D, D2H, CPU, HOST = range(5)
"""Resource numbers of the step scale, GPU and copies being those of GPU 0; ``lane_of`` those of
further ones.
"""

STATE_SIZE = 11
N, M, PREVIOUS, JOIN_A, JOIN_B, PLACE, STAGED, STREAMED, IS_SERIAL, STEP, NUM_JOINS = range(
    STATE_SIZE
)
"""Slots of the running state, in order: tasks so far, dependencies so far, the last task, the two
ends to wait for, where the hidden state is, buffers of experts and of layers used so far, whether
one thing runs at a time, the output token, and how many further ends to wait for.

Those further ends stand behind the slots, those of further GPUs first; then STAGED of each further
GPU, and what brings a layer's hidden states to each (NONE: nothing does).
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
"""What a layer is, what copies of its experts cost (ns) and move (bytes), whether the layer before
lies on another card, and what reading one of its experts from the disk takes (ns).
"""

TO_GPU, FROM_GPU, ACROSS = range(3)
"""Which copy of hidden states: up from the host, down to it, or from one GPU to another."""

SHARE = np.dtype([(name, "i8") for name in ("fetch", "num_bytes")])
"""What a copy of all that one GPU runs of a layer costs (ns) and moves (bytes)."""

WORK = np.dtype([(name, "i8") for name in ("mode", "attention", "gate", "ffn")])
"""Where a layer runs in a pass (LayerMode) and what it costs there, in ns."""

PASS = np.dtype(
    [
        (name, "i8")
        for name in ("step", "num_tokens", "num_sequences", "is_serial", "head_mode", "head")
    ]
)
"""A pass: what it feeds, whether one thing runs at a time, and its vocabulary projection (0 ns:
none).
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
"""What holds for the whole run; ``first_peer`` is the resource number of GPU 1, which its two
directions of copies follow.

``hand_over``: what every MoE layer on the GPU takes to reach the CPU pool, in ns; 0: only those go
there that have experts there. ``is_direct``: whether hidden states go straight from one GPU to
another (1), or by way of the host (0).
"""


SHELF = np.dtype([(name, "i8") for name in ("is_there", "read", "older", "newer")])
"""An expert in host memory: whether it is there (1), the task that read it from the disk (NONE: it
was there at the start), and its neighbours in the order in which experts were last asked for, as
layer · experts + expert (NONE: there is none).
"""

DISK = np.dtype([(name, "i8") for name in ("resource", "left_bytes", "keeps", "oldest", "newest")])
"""The disk's resource number, the room left on the shelf, whether what is read takes the place of what
was asked for longest ago (1) or is not kept (0), and both ends of the order of what is there.
"""


class Sheet(NamedTuple):
    """What compiled code reads of a run: few arrays of records, for the same reason as ROW.

    ``tokens`` and ``actions`` are [pass, layer, expert], and so is ``leaving``, as in Decisions,
    where anything is swapped; ``work`` is [pass, layer]; ``experts`` is ns [GPU or CPU, layer
    shape, tokens]; ``activations`` is ns [layer shape; TO_GPU, FROM_GPU or ACROSS; tokens];
    ``shares`` is [layer, GPU] of SHARE; ``run`` has one record. ``shelf`` [layer, expert] of SHELF
    is what host memory holds, where it has no room for all (else it is empty), and ``disk`` has one
    record of DISK; both change as tasks are emitted.
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
    """A run under way from decisions to tasks.

    ``rows`` of ROW, and the ``dependencies`` of all of them one after another; ``state`` is the
    running state; ``expert_ring`` and ``layer_ring`` [GPU, buffer] hold what last used each staging
    buffer; ``last_task`` [pass] gets the task whose end completes each.
    """

    rows: NDArray[np.void]
    dependencies: NDArray[np.int64]
    state: NDArray[np.int64]
    sheet: Sheet
    expert_ring: NDArray[np.int64]
    layer_ring: NDArray[np.int64]
    last_task: NDArray[np.int64]


class Moment(NamedTuple):
    """A layer of a pass, numbered by ``pass_index``; ``stamp`` numbers all of them in order.

    The start of a pass, before any of its layers, has the layer NONE, and a stamp behind those of
    all layers.
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
    """The moment before a pass has any gate."""
    # Its stamp stands behind those of the gates, so that what is indexed by gates keeps its places.
    return Moment(np.int64(index), np.int64(_NONE), np.int64(sheet.work.size + index))


@inner
def begin_pass(draft, index):
    """What is emitted from now on belongs to that pass."""
    draft.state[IS_SERIAL] = draft.sheet.passes[index].is_serial
    draft.state[STEP] = draft.sheet.passes[index].step


@inner
def wait_for(draft, task):
    """The task about to be emitted waits for that one (NONE: for nothing)."""
    if task >= 0:
        draft.dependencies[draft.state[M]] = task
        draft.state[M] += 1


@inner
def append(draft, resource, duration_ns, kind, layer):
    """Emit one task, which is no expert's and moves nothing; in a serial pass it also waits for the
    task before it.
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
    """Emit a copy of that many bytes, which are no expert's weights."""
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
    """Emit a copy of that many tokens' hidden states between the host and GPU 0, or the layer's
    card.
    """
    duration_ns = hidden_ns(draft.sheet, TO_GPU if way == H2D else FROM_GPU, tokens, layer)
    return append_hidden(draft, way, duration_ns, tokens, layer)


@inner
def append_hidden(draft, lane, duration_ns, tokens, layer):
    """Emit a copy of that many tokens' hidden states on a lane."""
    num_bytes = tokens * draft.sheet.run[0].activation_bytes
    return append_copy(draft, lane, duration_ns, _ACTIVATIONS, layer, num_bytes)


@inner
def hidden_ns(sheet, which, tokens, layer):
    """What a copy of that many tokens' hidden states takes the layer's card, for TO_GPU, FROM_GPU or
    ACROSS.
    """
    # The head is on the card of the last layer.
    own = layer if layer >= 0 else sheet.layers.shape[0] - 1
    return sheet.activations[sheet.layers[own].shape, which, tokens]


@inner
def leave_order(draft):
    """Let the next task take no part in a serial pass; returns what ``return_to_order`` is told."""
    before = draft.state[PREVIOUS], draft.state[IS_SERIAL]
    draft.state[IS_SERIAL] = 0
    return before


@inner
def return_to_order(draft, before):
    """Go on as if nothing had been emitted since: nothing waits unasked for what was."""
    draft.state[PREVIOUS] = before[0]
    draft.state[IS_SERIAL] = before[1]


@inner
def wait_for_join(draft):
    """The task about to be emitted waits for the last of each lane of the layer before."""
    state = draft.state
    wait_for(draft, state[JOIN_A])
    wait_for(draft, state[JOIN_B])
    for place in range(STATE_SIZE, STATE_SIZE + state[NUM_JOINS]):
        wait_for(draft, state[place])


@inner
def set_join(draft, first, second):
    """What the next layer waits for."""
    draft.state[JOIN_A] = first
    draft.state[JOIN_B] = second


@inner
def owner_of(sheet, layer, expert):
    """The GPU that an expert is on: they are dealt out in turn, layer after layer."""
    # Going on from layer to layer spreads the experts where a layer has no multiple of the GPUs.
    return (layer * sheet.tokens.shape[2] + expert) % sheet.run[0].num_gpus


@inner
def lane_of(sheet, first, owner):
    """Return the resource of GPU ``owner`` that GPU 0 has as ``first`` (GPU, H2D or D2H)."""
    return first if owner == 0 else sheet.run[0].first_peer + 3 * (owner - 1) + first


@inner
def note_last(draft, owner, task, last):
    """What was last on GPU 0, now that a task was emitted to a GPU; what was last on another is a
    further end to wait for.
    """
    if owner == 0:
        return task
    draft.state[STATE_SIZE + owner - 1] = task
    return last


@inner
def last_on(draft, owner, last):
    """What was last on a GPU, where ``last`` was on GPU 0."""
    return last if owner == 0 else draft.state[STATE_SIZE + owner - 1]
