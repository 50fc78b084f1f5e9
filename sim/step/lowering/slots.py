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
"""An expert that may leave a cache.

``is_last`` is 1 if it leaves only when no other is left, because the current gate selected it too.
"""
KNOWN = np.dtype([(name, "i8") for name in ("stamp", "row", "is_lasting", "num", "is_all")])
"""The state of the list of a layer's leavers.

``num`` of them are listed; ``is_all`` is 1 if no other expert may leave. The list is valid for the
gate with the ``stamp`` (NONE: for none). If ``is_lasting`` is 1, the list is valid for later gates
too, while the layer's forecast is that of the same ``row``.
"""
BLOCK = np.dtype([(name, "i8") for name in ("stamp", "row", "is_lasting", "layer")])
"""The ``layer`` of a block of layers that has the expert that leaves first (NONE: none has one).

``stamp``, ``row`` and ``is_lasting`` say for which gates this is valid, as in KNOWN.
"""
LAYERS_PER_BLOCK = 8
"""The number of layers in a block, if one budget serves all layers.

A search for the expert that leaves first asks each block instead of each layer.
"""
LISTED = 4
"""How many experts that may leave are listed for each layer.

A gate mostly makes room for several experts at once, so one search serves them all. Keeping a
longer list in order would take as long as a new search. With one budget for all layers only one
expert is listed for each layer, because the leavers spread over the layers.
"""

CACHE_RULES = np.dtype(
    [(name, "i8") for name in ("score", "is_global", "kept", "writes_back", "is_emptied")]
    + [("alpha", "f8")],
    align=True,
)
"""How a cache keeps experts.

``score`` is of Score. ``is_global`` says whether one budget serves all layers. ``writes_back`` says
whether an expert that leaves is copied back. ``is_emptied`` says whether all experts are released
after the last layer of a pass. ``alpha`` is the weight of a new gate in SMOOTHED_GATE, and ``kept``
is how many of its largest shares count.
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
"""Places in the counters.

NOW_NS is when the current gate ended. SERVED is the stamp of the current gate while its misses find
room, else NONE.
"""
NUM_COUNTERS = 10

_NONE = NONE


class Cached(NamedTuple):
    """A cache at work.

    ``slots`` [layer, expert] are of SLOT, and ``scores`` are theirs. ``free`` counts the free slots
    [layer, GPU], flattened; a budget over all layers is in the last row. ``coming`` lists awaited
    experts as layer · experts + expert. ``forecast`` holds predicted shares as in Predictions, or
    one row for all passes. ``gates`` [pass, layer, expert] are the true shares, ``next_use`` [pass,
    layer, expert] is the next pass that selects; both are empty if no score needs them.

    ``held[layer, :num_held[layer]]`` are the experts with the status HELD, ascending. They are few
    of many, so no search looks at all slots. ``leavers[layer, :known[layer].num]`` of LEAVER are
    those of them that may leave and are worth least. The least worthy stands first; ties go to the
    lower number. ``known`` [layer] is of KNOWN. ``blocks`` of BLOCK are blocks of consecutive
    layers; there are none if each layer has a budget of its own. ``rules`` has one record of
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
    """Return ``held``, ``num_held``, ``leavers``, ``known`` and ``blocks`` of a cache with those
    slots.

    No search has been made: no leavers are listed.
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
    """Note that the GPU holds an expert from now on."""
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
    """Note that the GPU no longer holds an expert."""
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
    """Discard the list of a layer's leavers: who may leave, or what they are worth, has changed."""
    cached.known[layer].stamp = _NONE
    cached.known[layer].is_lasting = 0
    forget_block(cached, layer)


@inner
def forget_block(cached, layer):
    """Discard what is noted of a layer's block: another expert may leave first."""
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
    """Return the GPU that holds an expert, dealt out as in ``owner_of``."""
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    return (layer * cached.slots.shape[1] + expert) % num_gpus


@inner
def give_back(cached, layer, expert):
    """Count the slot of an expert as free again, in its layer's budget or the common one."""
    cached.free[pool_of(cached, layer, expert)] += 1


@inner
def settle_arrivals(cached):
    """Mark awaited experts whose copies have arrived as held."""
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
