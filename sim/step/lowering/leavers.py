"""Which expert leaves a cache when room is needed: compiled.

A search through the experts of a layer lists several that may leave. Later events correct the list
or discard it. Without the list, every miss would need a search of its own.
"""

import numpy as np

from sim.engine.compilation import inner
from sim.engine.task import NONE
from sim.policies.cache.score import Score
from sim.step.lowering.slots import (
    HELD,
    LAYERS_PER_BLOCK,
    REACH,
    SERVED,
    WASTED_BYTES,
    forget,
    forget_block,
    gpu_of,
    pool_of,
    release,
)
from sim.step.lowering.worth import forecast_row, worth

_RANDOM = int(Score.RANDOM)
_NEXT_USE = int(Score.NEXT_USE)
_TIMES_VISITS = int(Score.FORECAST_TIMES_VISITS)
_SELECTIVE = int(Score.SELECTIVE_GATE)
_NONE = NONE


@inner
def _lists_last(cached):
    """Return whether a list of leavers may serve more than one search."""
    # Lists are of a layer, not of the GPUs that share its experts, and random worth is drawn anew
    # at each look.
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    return num_gpus == 1 and cached.rules[0].score != _RANDOM


@inner
def _list_leavers(cached, now, layer, owner):
    """List the experts of a layer that may leave GPU ``owner``."""
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    known = cached.known[layer]
    known.stamp = now.stamp
    known.row = forecast_row(cached, now, layer)
    known.is_lasting = 1
    known.num = 0
    known.is_all = 1
    for candidate in cached.held[layer, : cached.num_held[layer]]:
        if num_gpus > 1 and gpu_of(cached, layer, candidate) != owner:
            continue
        slot = cached.slots[layer, candidate]
        # What came ahead for one of the next layers stays until it has served: else prefetches would
        # push each other out.
        is_kept = (
            cached.rules[0].score == _TIMES_VISITS
            and slot.is_unused == 1
            and now.layer < layer <= now.layer + cached.counters[REACH]
        )
        # What the gate at hand needs stays until it has run there.
        if is_kept or (slot.pinned_at == now.stamp and slot.used_at != now.stamp):
            known.is_lasting = 0
            continue
        _list(cached, layer, candidate, worth(cached, now, layer, candidate))


@inner
def _list(cached, layer, expert, value):
    """Add an expert to the list of leavers of its layer, if it is among the least worthy."""
    known = cached.known[layer]
    leavers = cached.leavers[layer]
    is_last = _leaves_last(cached, layer, expert)
    place = known.num
    if is_last:
        known.is_lasting = 0
    # Once one was left out, nothing is put behind the listed: it may be worth more than who was
    # left out, and the list holds the least.
    if place == len(leavers) or known.is_all == 0:
        known.is_all = 0
        if place == 0 or not _leaves_first(expert, value, is_last, leavers[place - 1]):
            return
        if place == len(leavers):
            place -= 1
    while place > 0 and _leaves_first(expert, value, is_last, leavers[place - 1]):
        before = leavers[place - 1]
        _note_leaver(leavers[place], before.expert, before.worth, before.is_last)
        place -= 1
    _note_leaver(leavers[place], expert, value, is_last)
    known.num = min(known.num + 1, len(leavers))


@inner
def _leaves_last(cached, layer, expert):
    """Return 1 if the gate whose misses need room selected the expert too, else 0."""
    # Making room for one expert of a token with another of the same token gains nothing. Belady's
    # cache, which knows the future, needs no such rule.
    served = cached.counters[SERVED]
    return np.int64(
        cached.rules[0].score != _NEXT_USE
        and served != _NONE
        and cached.slots[layer, expert].pinned_at == served
    )


@inner
def _leaves_first(expert, value, is_last, other):
    """Return whether an expert leaves before the listed expert ``other``."""
    if is_last != other.is_last:
        return is_last < other.is_last
    return value < other.worth or (value == other.worth and expert < other.expert)


@inner
def _note_leaver(leaver, expert, value, is_last):
    leaver.expert = expert
    leaver.worth = value
    leaver.is_last = is_last


@inner
def note_run(cached, now, expert):
    """Note that an expert of the current layer has run: if the GPU holds it, it may leave from now
    on.
    """
    layer = now.layer
    slot = cached.slots[layer, expert]
    slot.used_at = now.stamp
    if not _lists_last(cached):
        forget(cached, layer)
    elif cached.known[layer].stamp == now.stamp and slot.status == HELD:
        forget_block(cached, layer)
        _list(cached, layer, expert, worth(cached, now, layer, expert))


@inner
def _is_known(cached, now, layer):
    """Return whether the list of a layer is valid at this moment and not used up."""
    known = cached.known[layer]
    is_known = known.stamp == now.stamp or (
        known.is_lasting == 1 and known.row == forecast_row(cached, now, layer)
    )
    return is_known and (known.num > 0 or known.is_all == 1) and _lists_last(cached)


@inner
def _least_worthy(cached, now, layer, expert):
    """Return which expert leaves for an expert of a layer: its layer, its number and its worth.

    Layer and number are NONE if no expert may leave.
    """
    owner = gpu_of(cached, layer, expert)
    found = np.int64(_NONE)
    if len(cached.blocks) == 0:
        if not _is_known(cached, now, layer):
            _list_leavers(cached, now, layer, owner)
        if cached.known[layer].num > 0:
            found = np.int64(layer)
    for block in range(len(cached.blocks)):
        if not _is_block_known(cached, now, block):
            _look_through(cached, now, block, owner)
        other = cached.blocks[block].layer
        if other >= 0 and (found < 0 or _goes_before(cached, other, found)):
            found = other
    if found < 0:
        return found, np.int64(_NONE), 0.0
    own = cached.leavers[found, 0]
    return found, own.expert, own.worth


@inner
def _goes_before(cached, layer, other):
    """Return whether the first leaver of a layer goes before that of ``other``, a lower layer.

    Ties go to the lower layer.
    """
    own = cached.leavers[layer, 0]
    its = cached.leavers[other, 0]
    return own.is_last < its.is_last or (own.is_last == its.is_last and own.worth < its.worth)


@inner
def _is_block_known(cached, now, number):
    """Return whether the first leaver noted for a block of layers is valid at this moment."""
    block = cached.blocks[number]
    if not _lists_last(cached):
        return False
    if block.stamp == now.stamp:
        return True
    # Rows fall from layer to layer, so all between two alike are the same.
    first = number * LAYERS_PER_BLOCK
    last = min(first + LAYERS_PER_BLOCK, cached.slots.shape[0]) - 1
    return (
        block.is_lasting == 1
        and forecast_row(cached, now, first) == block.row
        and forecast_row(cached, now, last) == block.row
    )


@inner
def _look_through(cached, now, number, owner):
    """Note which layer of a block has the expert that leaves first; layers without a valid list are
    searched.
    """
    block = cached.blocks[number]
    first = number * LAYERS_PER_BLOCK
    last = min(first + LAYERS_PER_BLOCK, cached.slots.shape[0])
    block.stamp = now.stamp
    block.row = forecast_row(cached, now, first)
    block.is_lasting = np.int64(forecast_row(cached, now, last - 1) == block.row)
    block.layer = _NONE
    for layer in range(first, last):
        if not _is_known(cached, now, layer):
            _list_leavers(cached, now, layer, owner)
        if cached.known[layer].is_lasting == 0:
            block.is_lasting = 0
        if cached.known[layer].num > 0 and (
            block.layer < 0 or _goes_before(cached, layer, block.layer)
        ):
            block.layer = layer


@inner
def take_slot(cached, now, layer, expert, layers):
    """Make room for an expert on its GPU: return whether there is room, and what leaves for it.

    The full answer is whether there is room, the task that last read what leaves, its layer and its
    number (NONE: nothing leaves). Experts on their way stay. An expert that the current gate needs
    stays until it has run. An expert that the gate SERVED selected leaves only if no other may. The
    score FORECAST_TIMES_VISITS keeps prefetched experts of layers within reach. The scores NEXT_USE
    and SELECTIVE_GATE make no room for an expert that is worth no more than any that may leave.
    That expert goes through a buffer. ``layers`` of LAYER give the bytes wasted when an unused
    prefetch leaves.
    """
    place = pool_of(cached, layer, expert)
    if cached.free[place] > 0:
        cached.free[place] -= 1
        return True, _NONE, _NONE, _NONE
    victim_layer, victim, least = _least_worthy(cached, now, layer, expert)
    if victim < 0 or (
        cached.rules[0].score in (_NEXT_USE, _SELECTIVE)
        and least >= worth(cached, now, layer, expert)
    ):
        return False, _NONE, _NONE, _NONE
    slot = cached.slots[victim_layer, victim]
    _strike_first(cached, now, victim_layer, victim)
    if slot.is_unused == 1:
        cached.counters[WASTED_BYTES] += layers[victim_layer].expert_bytes
        slot.is_unused = 0
    return True, np.int64(slot.last_use), victim_layer, victim


@inner
def _strike_first(cached, now, layer, expert):
    """Remove the first listed expert of a layer from the GPU; the others stay listed."""
    known = cached.known[layer]
    leavers = cached.leavers[layer]
    # Releasing an expert has its layer's list forgotten, as if any of those listed might have left.
    is_lasting = known.is_lasting
    release(cached, layer, expert)
    known.stamp = now.stamp
    known.is_lasting = is_lasting
    known.num = known.num - 1
    for place in range(known.num):
        following = leavers[place + 1]
        _note_leaver(leavers[place], following.expert, following.worth, following.is_last)
