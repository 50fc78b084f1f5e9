"""The slots of a cache in compiled form: which experts the GPU holds or awaits.

``worth`` says what an expert is worth, ``leavers`` which leaves when room is needed.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, part
from sim.engine.task import NONE

ABSENT, HELD, COMING = range(3)
QUEUED, STARTED, ARRIVED = range(3)

SLOT = np.dtype(
    [
        ("status", "u1"),
        ("phase", "u1"),  # of the copy that brings it: QUEUED, STARTED or ARRIVED
        ("is_unused", "u1"),  # brought by a prefetch, not used since
        ("pinned_at", "i4"),  # stamp of the gate that needs it kept
        ("used_at", "i4"),  # stamp of the gate at which it last ran
        ("last_use", "i4"),  # task that last read its weights
        ("visits", "i4"),
        ("copy", "i4"),  # task that brings or brought it
        ("looked_up", "i4"),  # task that its prefetch waits for: what named it
        ("freed_by", "i4"),  # and the last use of what was in its place
        ("started_ns", "i8"),  # when its copy began, once it has
    ],
    align=True,
)
"""One expert as the cache sees it. Tasks have numbers of 32 bits, as the engine's do, and gates are
fewer: a gate looks at slots of many experts, which should lie close together.
"""

LEAVER = np.dtype([("expert", "i8"), ("worth", "f8"), ("is_last", "i8")], align=True)
"""One that may leave; ``is_last``: only where no other is left, since the gate at hand selected it
too.
"""
KNOWN = np.dtype([(name, "i8") for name in ("stamp", "row", "is_lasting", "num", "is_all")])
"""How many leavers of a layer are listed, and whether they are all: for the gate with that stamp
(NONE: for none), and if ``is_lasting`` for those after it too, while the layer's forecast is that
of the same ``row``."""
BLOCK = np.dtype([(name, "i8") for name in ("stamp", "row", "is_lasting", "layer")])
"""Which of a block of layers has the one that leaves first (NONE: none of them has any), and for
which gates that holds: as in KNOWN.
"""
LAYERS_PER_BLOCK = 8
"""Where one budget serves all layers: so that a look for who leaves does not ask each of them."""
LISTED = 4
"""How many experts that may leave are listed for each layer.

A gate mostly makes room for several at once, so that one look serves them all; keeping a longer list
in order takes as long as looking again. With one budget for all layers the list has one, because
the leavers spread over the layers.
"""

CACHE_RULES = np.dtype(
    [(name, "i8") for name in ("score", "is_global", "kept", "writes_back", "is_emptied")]
    + [("alpha", "f8")],
    align=True,
)
"""How a cache keeps experts: by which Score, whether one budget serves all layers, whether what
leaves is copied back, and whether all is given up behind the last layer of a pass.

``alpha`` and ``kept`` are the weight of a new gate in SMOOTHED_GATE and how many of its shares count.
"""

(
    TICK,
    RANDOM_STATE,
    NUM_COMING,
    WASTED_BYTES,
    PREFETCHED_BYTES,
    NUM_OPERATIONS,
    LATE_USES,
    REACH,
    NOW_NS,
    SERVED,
) = range(10)
"""Places in the counters; NOW_NS is when the gate at hand ended, SERVED its stamp while its misses
find room (else NONE).
"""
NUM_COUNTERS = 10

_NONE = NONE


class Cached(NamedTuple):
    """A cache at work.

    ``slots`` [layer, expert] of SLOT, and their ``scores``; ``free`` slots by layer, the last for a
    budget over all layers, of each GPU in turn; ``coming`` lists awaited experts as layer · experts
    + expert. ``forecast`` holds predicted shares as in Predictions, or one row for all passes;
    ``gates`` [pass, layer, expert] the true ones, ``next_use`` [pass, layer, expert] the next pass
    that selects; empty where no score needs them. ``held[layer, :num_held[layer]]`` are the experts with status HELD, ascending:
    few of many, so that no search looks at all slots. ``leavers[layer, :known[layer].num]`` of
    LEAVER are those of them that may leave and are worth least, the least first (ties to the lower
    number), as ``known`` [layer] of KNOWN says. ``blocks`` of BLOCK, of layers one after
    another, is empty where each layer has a budget of its own. ``rules`` has one record of
    CACHE_RULES.
    """

    slots: NDArray[np.void]
    scores: NDArray[np.float64]
    free: NDArray[np.int64]
    coming: NDArray[np.int64]
    counters: NDArray[np.int64]
    forecast: NDArray[np.float32]
    gates: NDArray[np.float32]
    next_use: NDArray[np.int32]
    held: NDArray[np.int32]
    num_held: NDArray[np.int64]
    leavers: NDArray[np.void]
    known: NDArray[np.void]
    blocks: NDArray[np.void]
    rules: NDArray[np.void]


def held_of(slots: NDArray[np.void], *, is_global: bool) -> dict[str, NDArray[Any]]:
    """``held``, ``num_held``, ``leavers``, ``known`` and ``blocks`` of a cache with those slots, in
    which nothing has been looked for.
    """
    is_held = slots["status"] == HELD
    known = np.zeros(len(slots), KNOWN)
    known["stamp"] = NONE
    blocks = np.zeros(-(-len(slots) // LAYERS_PER_BLOCK) if is_global else 0, BLOCK)
    blocks["stamp"] = NONE
    return {
        "held": np.argsort(~is_held, axis=1, kind="stable").astype(np.int32),
        "num_held": is_held.sum(axis=1),
        "leavers": np.zeros((len(slots), 1 if is_global else LISTED), LEAVER),
        "known": known,
        "blocks": blocks,
    }


@inner
def hold(cached, layer, expert):
    """An expert is on the GPU from now on."""
    cached.slots[layer, expert].status = HELD
    # Ascending, so that ties go to the lower number in whatever order experts came.
    held = cached.held[layer]
    place = cached.num_held[layer]
    while place > 0 and held[place - 1] > expert:
        held[place] = held[place - 1]
        place -= 1
    held[place] = expert
    cached.num_held[layer] += 1
    # The list still serves this gate: what has just come is needed there, and may not leave until
    # it has run. For the next gate it lacks the newcomer.
    cached.known[layer].is_lasting = 0
    forget_block(cached, layer)


@inner
def release(cached, layer, expert):
    """An expert is no longer on the GPU."""
    cached.slots[layer, expert].status = ABSENT
    held = cached.held[layer]
    place = 0
    while held[place] != expert:
        place += 1
    cached.num_held[layer] -= 1
    for following in range(place, cached.num_held[layer]):
        held[following] = held[following + 1]
    forget(cached, layer)


@inner
def forget(cached, layer):
    """Who may leave of a layer, or what they are worth, is not what it was."""
    cached.known[layer].stamp = _NONE
    cached.known[layer].is_lasting = 0
    forget_block(cached, layer)


@inner
def forget_block(cached, layer):
    """Who leaves first of the block of a layer is not who it was."""
    if len(cached.blocks) > 0:
        block = cached.blocks[layer // LAYERS_PER_BLOCK]
        block.stamp = _NONE
        block.is_lasting = 0


@inner
def pool_of(cached, layer, expert):
    """The place in ``free`` of the slots that an expert of a layer may take."""
    num_layers = cached.slots.shape[0]
    num_gpus = len(cached.free) // (num_layers + 1)
    budget = num_layers if cached.rules[0].is_global else layer
    return budget * num_gpus + gpu_of(cached, layer, expert)


@inner
def gpu_of(cached, layer, expert):
    """The GPU that an expert is on: as ``owner_of`` deals them out."""
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    return (layer * cached.slots.shape[1] + expert) % num_gpus


@inner
def give_back(cached, layer, expert):
    """The slot of an expert, of its layer (or of the common budget), is free again."""
    cached.free[pool_of(cached, layer, expert)] += 1


@inner
def settle_arrivals(cached):
    """What has arrived is held from now on."""
    if cached.counters[NUM_COMING] > 0:
        _settle_arrivals(cached)


@part
def _settle_arrivals(cached):
    """Do what ``settle_arrivals`` does, where anything is on its way."""
    # Moved at a gate, not when the copy ends: only gates ask, and both engines see the same then.
    num_experts = cached.slots.shape[1]
    num_left = 0
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        slot = cached.slots[code // num_experts, code % num_experts]
        if slot.phase == ARRIVED:
            hold(cached, code // num_experts, code % num_experts)
        else:
            cached.coming[num_left] = code
            num_left += 1
    cached.counters[NUM_COMING] = num_left
