"""What compiled code reads of a run and writes of its tasks, and how a task is appended.

``emit`` makes passes of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner
from sim.engine.task import TaskKind

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
GPU.
"""

_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)

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
"""A task under construction.

One array of records, not one a column: compiled calls pass few arguments, and compile fast.
"""


class Columns(NamedTuple):
    """A task table under construction: ROW records, and the dependencies of all of them one after
    another.
    """

    rows: NDArray[np.void]
    dependencies: NDArray[np.int64]


LAYER = np.dtype(
    [
        (name, "i8")
        for name in ("shape", "is_moe", "fetch", "evict", "expert_bytes", "is_border", "read")
    ]
)
"""What a layer is, what copies of its experts cost (ns) and move (bytes), whether the layer before
lies on another card, and what reading one of its experts from the disk takes (ns).
"""

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
            *("num_gpus", "first_peer", "hand_over"),
        )
    ]
)
"""What holds for the whole run; ``first_peer`` is the resource number of GPU 1, which its two
directions of copies follow.

``hand_over``: what every MoE layer on the GPU takes to reach the CPU pool, in ns; 0: only those go
there that have experts there.
"""


SHELF = np.dtype([(name, "i8") for name in ("used_at", "read")])
"""An expert in host memory: when it was last asked for, counted in experts asked for (NONE: it is
not there), and the task that read it from the disk (NONE: it was there at the start).
"""

DISK = np.dtype([(name, "i8") for name in ("resource", "left_bytes", "asked", "keeps")])
"""The disk's resource number, the room left on the shelf, the experts asked for so far, and whether
what is read takes the place of what was asked for longest ago (1) or is not kept (0).
"""


class Sheet(NamedTuple):
    """What compiled code reads of a run: few arrays of records, for the same reason as ROW.

    ``tokens`` and ``actions`` are [pass, layer, expert], and so is ``leaving``, as in Decisions,
    where anything is swapped; ``work`` is [pass, layer]; ``experts`` is ns [GPU or CPU, layer
    shape, tokens]; ``activations`` is ns [H2D or D2H, tokens]; ``shares`` is [layer, GPU] of SHARE;
    ``run`` has one record. ``shelf`` [layer, expert] of SHELF is what host memory holds, where it
    has no room for all (else it is empty), and ``disk`` has one record of DISK; both change as
    tasks are emitted.
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


@inner
def wait_for(out, state, task):
    """The task about to be emitted waits for that one (NONE: for nothing)."""
    if task >= 0:
        out.dependencies[state[M]] = task
        state[M] += 1


@inner
def append(out, state, resource, duration_ns, kind, layer, expert, num_bytes):
    """Emit one task; in a serial pass it also waits for the task before it."""
    number = state[N]
    if state[IS_SERIAL] == 1:
        wait_for(out, state, state[PREVIOUS])
    row = out.rows[number]
    row.resource = resource
    row.duration_ns = duration_ns
    row.kind = kind
    row.step = state[STEP]
    row.layer = layer
    row.expert = expert
    row.num_bytes = num_bytes
    row.priority = -1 if kind == _ACTIVATIONS else 0  # on a copy engine, tokens go before weights
    row.num_chunks = 1
    row.end_of_dependencies = state[M]
    state[N] = number + 1
    state[PREVIOUS] = number
    return number
