"""Host memory as a cache of experts before the disk: what is read, kept and dropped. Compiled.

Experts are asked for in the order in which their copies and CPU runs are emitted, so what host
memory holds depends on that order, not on the clock.
"""

import numpy as np

from sim.engine.compilation import inner, part
from sim.engine.task import NONE, TaskKind
from sim.step.lowering.draft import append_copy, wait_for

_READING = int(TaskKind.DISK_READ)
_NONE = NONE


@inner
def bring_in(draft, layer, expert, after, priority):
    """Have the expert in host memory once task ``after`` has ended; returns the read that its use
    waits for, NONE where it was there from the start.

    One whose read is still under way is not read twice.
    """
    # Asked here, because a call of a part that takes a draft costs more than a task.
    if draft.sheet.shelf.shape[0] == 0:
        return np.int64(_NONE)
    return _take_down(draft, np.int64(layer), np.int64(expert), np.int64(after), np.int64(priority))


@part
def _take_down(draft, layer, expert, after, priority):
    """Do what ``bring_in`` does, where host memory has no room for all experts."""
    sheet = draft.sheet
    disk = sheet.disk[0]
    disk.asked += 1
    own = sheet.shelf[layer, expert]
    if own.used_at >= 0:
        own.used_at = disk.asked
        return own.read
    wait_for(draft, after)
    num_bytes = sheet.layers[layer].expert_bytes
    read = append_copy(draft, disk.resource, sheet.layers[layer].read, _READING, layer, num_bytes)
    draft.rows[read].expert = expert
    draft.rows[read].priority = priority
    if disk.keeps == 1:
        _make_room(sheet, num_bytes)
        disk.left_bytes -= num_bytes
        own.used_at = disk.asked
        own.read = read
    return read


@part
def _make_room(sheet, num_bytes):
    """Drop what was asked for longest ago, one after another, until that many bytes are free."""
    disk = sheet.disk[0]
    num_experts = sheet.shelf.shape[1]
    while disk.left_bytes < num_bytes:
        oldest = _NONE
        least = disk.asked
        for place in range(sheet.shelf.size):
            used_at = sheet.shelf[place // num_experts, place % num_experts].used_at
            if 0 <= used_at < least:
                oldest = place
                least = used_at
        if oldest < 0:
            return
        sheet.shelf[oldest // num_experts, oldest % num_experts].used_at = _NONE
        disk.left_bytes += sheet.layers[oldest // num_experts].expert_bytes
