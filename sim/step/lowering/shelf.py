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
    """Have an expert in host memory once task ``after`` has ended; return the read that its use
    waits for.

    Return NONE if the expert was there from the start. An expert whose read is under way is not
    read twice.
    """
    # Asked here, because a call of a part that takes a draft costs more than a task.
    if draft.sheet.shelf.shape[0] == 0:
        return np.int64(_NONE)
    return _take_down(draft, np.int64(layer), np.int64(expert), np.int64(after), np.int64(priority))


@part
def _take_down(draft, layer, expert, after, priority):
    """Do what ``bring_in`` does, where host memory has no room for all experts."""
    sheet = draft.sheet
    own = sheet.shelf[layer, expert]
    place = layer * sheet.shelf.shape[1] + expert
    if own.is_there == 1:
        _take_out(sheet, place)
        _put_newest(sheet, place)
        return own.read
    wait_for(draft, after)
    disk = sheet.disk[0]
    num_bytes = sheet.layers[layer].expert_bytes
    read = append_copy(draft, disk.resource, sheet.layers[layer].read, _READING, layer, num_bytes)
    draft.rows[read].expert = expert
    draft.rows[read].priority = priority
    if disk.keeps == 1:
        _make_room(sheet, num_bytes)
        disk.left_bytes -= num_bytes
        own.is_there = 1
        own.read = read
        _put_newest(sheet, place)
    return read


@inner
def _at(sheet, place):
    """Return the record of the expert at ``place`` (layer · experts + expert)."""
    num_experts = sheet.shelf.shape[1]
    return sheet.shelf[place // num_experts, place % num_experts]


@inner
def _take_out(sheet, place):
    """Take an expert out of the order of last use, and link its neighbours to each other."""
    older, newer = _at(sheet, place).older, _at(sheet, place).newer
    if older < 0:
        sheet.disk[0].oldest = newer
    else:
        _at(sheet, older).newer = newer
    if newer < 0:
        sheet.disk[0].newest = older
    else:
        _at(sheet, newer).older = older


@inner
def _put_newest(sheet, place):
    """Put an expert at the newest end of the order of last use."""
    newest = sheet.disk[0].newest
    _at(sheet, place).older = newest
    _at(sheet, place).newer = _NONE
    if newest < 0:
        sheet.disk[0].oldest = place
    else:
        _at(sheet, newest).newer = place
    sheet.disk[0].newest = place


@part
def _make_room(sheet, num_bytes):
    """Drop the least recently used experts, one after another, until ``num_bytes``
    bytes are free.
    """
    disk = sheet.disk[0]
    while disk.left_bytes < num_bytes and disk.oldest >= 0:
        place = disk.oldest
        _take_out(sheet, place)
        _at(sheet, place).is_there = 0
        disk.left_bytes += sheet.layers[place // sheet.shelf.shape[1]].expert_bytes
