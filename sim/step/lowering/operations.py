"""What a gate changes of earlier decisions: prefetches are promoted or taken back,
caches emptied.
"""

import numpy as np

from sim.engine.compilation import inner, part
from sim.step.lowering.slots import (
    ABSENT,
    HELD,
    NUM_COMING,
    NUM_OPERATIONS,
    QUEUED,
    WASTED_BYTES,
    give_back,
    release,
)

PROMOTE, DROP = range(2)
"""Operations on a task that a gate asks of the session."""


@inner
def operate(cached, live, task, operation):
    """Note one task to promote or drop."""
    number = cached.counters[NUM_OPERATIONS]
    live.operations[number, 0] = task
    live.operations[number, 1] = operation
    cached.counters[NUM_OPERATIONS] = number + 1


@inner
def take_back(cached, live, layer, kept):
    """Take back the prefetches of a layer that have not started.

    Those that the gate with the stamp ``kept`` has pinned stay; with NONE, none stays.
    """
    if cached.counters[NUM_COMING] > 0:
        _take_back(cached, live, np.int64(layer), np.int64(kept))


@part
def _take_back(cached, live, layer, kept):
    """Do what ``take_back`` does, where anything is on its way."""
    num_experts = cached.slots.shape[1]
    num_left = 0
    # A copy under way is not stopped: the link has spent the time, and it may serve a later pass.
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        slot = cached.slots[code // num_experts, code % num_experts]
        if (
            code // num_experts == layer
            and slot.phase == QUEUED
            and (kept < 0 or slot.pinned_at != kept)
        ):
            operate(cached, live, np.int64(slot.copy), DROP)
            slot.status = ABSENT
            slot.is_unused = 0
            give_back(cached, layer, code % num_experts)
        else:
            cached.coming[num_left] = code
            num_left += 1
    cached.counters[NUM_COMING] = num_left


@part
def empty(sheet, cached):
    """Release all experts that the GPU holds, once the pass has no further gate.

    Experts on their way arrive all the same.
    """
    num_experts = cached.slots.shape[1]
    for layer in range(cached.slots.shape[0]):
        for expert in range(num_experts):
            slot = cached.slots[layer, expert]
            if slot.status == HELD:
                release(cached, layer, expert)
                give_back(cached, layer, expert)
                if slot.is_unused:
                    cached.counters[WASTED_BYTES] += sheet.layers[layer].expert_bytes
                    slot.is_unused = 0
