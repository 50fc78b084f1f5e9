"""Compiled replays of one layer's cache over a stream of tokens.

All hits of a token are decided at once (the replay rule of arXiv 2608.07911); then its misses are
admitted one by one. ``ids`` is [token, rank]. Every replay returns the number of misses and of
copies. Each kernel stands by itself, so that numba's own cache suffices.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

LRU, FIFO, LFU, DECAYED, OPTIMUM, WINDOW = range(6)
ABSENT, SMALL, MAIN, GHOST, OLD_GHOST = range(5)
"""States of an expert in S3-FIFO and ARC.

SMALL holds newcomers, which were used once, and MAIN experts that were used more often. GHOST and
OLD_GHOST hold the names of experts that left SMALL and MAIN.
"""

LARGEST = 1e200
"""The limit of the weight of a decayed count; larger ones are scaled down."""


@njit(cache=True, nogil=True)
def next_uses(ids, num_experts):  # type: ignore[no-untyped-def]
    """Return the token at which each choice is made again [token, rank].

    It is the number of tokens for a choice that is never made again.
    """
    num_tokens, top_k = ids.shape
    found = np.empty((num_tokens, top_k), np.int32)
    following = np.full(num_experts, num_tokens, np.int32)
    # Backwards, so that the next choice of each expert is known. A token reads all before it writes:
    # the same token's other choices are no next use.
    for token in range(num_tokens - 1, -1, -1):
        for rank in range(top_k):
            found[token, rank] = following[ids[token, rank]]
        for rank in range(top_k):
            following[ids[token, rank]] = token
    return found


class ScoreLaw(NamedTuple):
    """The law of the score by which an expert is kept.

    It has a rule (LRU to WINDOW), the half-life of a decayed count, and the window of foresight,
    both in tokens.
    """

    rule: int
    half_life_tokens: float
    window_tokens: int


class Marks(NamedTuple):
    """What is known of every expert; all arrays are [expert].

    ``until`` is the token of its next use, ``last`` that of its last.
    """

    score: NDArray[np.float64]
    until: NDArray[np.int32]
    last: NDArray[np.int32]
    is_cached: NDArray[np.bool_]


@njit(cache=True, nogil=True)
def _noted(law, marks, expert, token, weight):  # type: ignore[no-untyped-def]
    """The score of an expert that a token has just chosen."""
    rule = law.rule
    if rule == LRU:
        return float(token)
    if rule == LFU:
        return marks.score[expert] + 1.0
    if rule in (DECAYED, WINDOW):
        return marks.score[expert] + weight
    if rule == OPTIMUM:
        return -float(marks.until[expert])
    # First in, first out: a use in the cache does not renew it.
    return marks.score[expert] if marks.is_cached[expert] else float(token)


@njit(cache=True, nogil=True)
def _standing(law, marks, expert, token, is_kept):  # type: ignore[no-untyped-def]
    """Return what an expert is worth now.

    Within the window, it is worth more the sooner it is used. With ``is_kept``, its worth is above
    that of all others: the token itself uses it.
    """
    ahead = marks.until[expert] - token
    if law.rule == WINDOW and ahead <= law.window_tokens:
        return LARGEST * 1e90 / ahead
    return marks.score[expert] + LARGEST if is_kept else marks.score[expert]


@njit(cache=True, nogil=True)
def _lowest(held, law, marks, token, below):  # type: ignore[no-untyped-def]
    """The place of the expert worth least, -1 where none is worth less than ``below``."""
    worst = -1
    lowest = below
    for place in range(held.shape[0]):
        other = held[place]
        is_kept = law.rule < DECAYED and marks.last[other] == token
        value = _standing(law, marks, other, token, is_kept)
        if value < lowest:
            lowest = value
            worst = place
    return worst


@njit(cache=True, nogil=True)
def _note_token(token, choices, law, marks, weight, missed):  # type: ignore[no-untyped-def]
    """Note a token's experts, fill ``missed`` with those that missed, and return their number.

    ``choices`` are all ids [token, rank], and the tokens of their next use [token, rank].
    """
    ids, following = choices
    num_missed = 0
    # All of a token's hits are decided before any of its misses comes in.
    for rank in range(ids.shape[1]):
        expert = ids[token, rank]
        marks.last[expert] = token
        marks.until[expert] = following[token, rank]
        if not marks.is_cached[expert]:
            missed[num_missed] = expert
            num_missed += 1
        marks.score[expert] = _noted(law, marks, expert, token, weight)
    return num_missed


@njit(cache=True, nogil=True)
def replay_scored(ids, following, num_experts, slots, law):  # type: ignore[no-untyped-def]
    """Replay a cache that keeps the experts of the highest score.

    DECAYED, OPTIMUM and WINDOW may leave a miss out (bypass). LRU, FIFO and LFU take every miss in,
    and evict an expert of the same token only where there is no other.
    """
    num_tokens, top_k = ids.shape
    held = np.empty(slots, np.int32)
    num_held = 0
    marks = Marks(
        np.zeros(num_experts),
        np.full(num_experts, num_tokens, np.int32),
        np.full(num_experts, -1, np.int32),
        np.zeros(num_experts, np.bool_),
    )
    weight = 1.0
    # A growing weight of what is new stands for the decay of all that is old, which need not be
    # touched then.
    growth = 2.0 ** (1.0 / law.half_life_tokens)
    has_bypass = law.rule >= DECAYED
    missed = np.empty(top_k, np.int32)
    misses = 0
    copies = 0
    for token in range(num_tokens):
        num_missed = _note_token(token, (ids, following), law, marks, weight, missed)
        misses += num_missed
        weight *= growth
        if weight > LARGEST:
            weight /= LARGEST
            marks.score[:] /= LARGEST
        for index in range(num_missed):
            expert = missed[index]
            worst = num_held
            if num_held < slots:
                num_held += 1
            else:
                own = _standing(law, marks, expert, token, False)
                worst = _lowest(held, law, marks, token, own if has_bypass else np.inf)
                if worst < 0:
                    continue
                marks.is_cached[held[worst]] = False
            held[worst] = expert
            marks.is_cached[expert] = True
            copies += 1
    return misses, copies


@njit(cache=True, nogil=True)
def replay_fixed(ids, counts, slots):  # type: ignore[no-untyped-def]
    """Replay a cache that always holds the experts with the highest counts; nothing is copied."""
    num_tokens, top_k = ids.shape
    is_kept = np.zeros(counts.shape[0], np.bool_)
    is_kept[np.argsort(-counts)[:slots]] = True
    misses = 0
    for token in range(num_tokens):
        for rank in range(top_k):
            misses += not is_kept[ids[token, rank]]
    return misses, 0


@njit(cache=True, nogil=True)
def replay_second_chance(ids, num_experts, slots):  # type: ignore[no-untyped-def]
    """Replay a clock, whose hand spares each expert that was used since its last pass, once."""
    num_tokens, top_k = ids.shape
    place_of = np.full(num_experts, -1, np.int32)
    held = np.full(slots, -1, np.int32)
    is_used = np.zeros(slots, np.bool_)
    missed = np.empty(top_k, np.int32)
    hand = 0
    misses = 0
    for token in range(num_tokens):
        num_missed = 0
        for rank in range(top_k):
            expert = ids[token, rank]
            if place_of[expert] >= 0:
                is_used[place_of[expert]] = True
            else:
                missed[num_missed] = expert
                num_missed += 1
        misses += num_missed
        for index in range(num_missed):
            while is_used[hand]:
                is_used[hand] = False
                hand = (hand + 1) % slots
            if held[hand] >= 0:
                place_of[held[hand]] = -1
            held[hand] = missed[index]
            place_of[missed[index]] = hand
            hand = (hand + 1) % slots
    return misses, misses


@njit(cache=True, nogil=True)
def _oldest(queue, stamp, wanted):  # type: ignore[no-untyped-def]
    """Return the member of queue ``wanted`` that entered first; -1 where the queue is empty."""
    found = -1
    for expert in range(queue.shape[0]):
        if queue[expert] == wanted and (found < 0 or stamp[expert] < stamp[found]):
            found = expert
    return found


@njit(cache=True, nogil=True)
def _s3_room(queue, stamp, uses, sizes, slots, clock):  # type: ignore[no-untyped-def]
    """Make room for one expert and return the clock.

    Newcomers that were used again move to MAIN; others leave.
    """
    # The tenth is that of the paper.
    small_slots = max(1, slots // 10)
    while sizes[SMALL] + sizes[MAIN] >= slots:
        source = SMALL if sizes[SMALL] >= small_slots or sizes[MAIN] == 0 else MAIN
        leaving = _oldest(queue, stamp, source)
        clock += 1
        stamp[leaving] = clock
        sizes[source] -= 1
        target = GHOST if source == SMALL else ABSENT
        if uses[leaving] > 0 and (source == MAIN or uses[leaving] > 1):
            uses[leaving] = uses[leaving] - 1 if source == MAIN else 0
            target = MAIN
        queue[leaving] = target
        if target != ABSENT:
            sizes[target] += 1
        # Names of as many as the cache holds, as the paper has it.
        while sizes[GHOST] > slots:
            queue[_oldest(queue, stamp, GHOST)] = ABSENT
            sizes[GHOST] -= 1
    return clock


@njit(cache=True, nogil=True)
def replay_s3_fifo(ids, num_experts, slots):  # type: ignore[no-untyped-def]
    """Replay S3-FIFO (SOSP 2023), which has three queues.

    One has a tenth of the slots, for newcomers. One has the rest, for experts used again. One holds
    the names of experts that left.
    """
    num_tokens, top_k = ids.shape
    queue = np.zeros(num_experts, np.int8)
    stamp = np.zeros(num_experts, np.int64)
    uses = np.zeros(num_experts, np.int8)
    sizes = np.zeros(4, np.int64)
    missed = np.empty(top_k, np.int32)
    clock = 0
    misses = 0
    for token in range(num_tokens):
        num_missed = 0
        for rank in range(top_k):
            expert = ids[token, rank]
            if queue[expert] == SMALL or queue[expert] == MAIN:
                uses[expert] = min(3, uses[expert] + 1)
            else:
                missed[num_missed] = expert
                num_missed += 1
        misses += num_missed
        for index in range(num_missed):
            expert = missed[index]
            clock = _s3_room(queue, stamp, uses, sizes, slots, clock)
            target = SMALL
            if queue[expert] == GHOST:
                sizes[GHOST] -= 1
                target = MAIN
            clock += 1
            queue[expert] = target
            stamp[expert] = clock
            uses[expert] = 0
            sizes[target] += 1
    return misses, misses


@njit(cache=True, nogil=True)
def _arc_room(queue, stamp, sizes, goal, is_old_ghost):  # type: ignore[no-untyped-def]
    """Evict one expert of either list into its ghosts, as ARC's REPLACE does."""
    # An empty list has nobody to give: then the other one gives.
    from_small = sizes[SMALL] > 0 and (
        sizes[SMALL] > goal or (is_old_ghost and sizes[SMALL] >= goal) or sizes[MAIN] == 0
    )
    source = SMALL if from_small else MAIN
    ghost = GHOST if from_small else OLD_GHOST
    leaving = _oldest(queue, stamp, source)
    queue[leaving] = ghost
    sizes[source] -= 1
    sizes[ghost] += 1


@njit(cache=True, nogil=True)
def _arc_trim(queue, stamp, sizes, slots):  # type: ignore[no-untyped-def]
    """Forget the oldest ghosts where there are more names than ARC keeps."""
    while sizes[SMALL] + sizes[GHOST] > slots and sizes[GHOST] > 0:
        queue[_oldest(queue, stamp, GHOST)] = ABSENT
        sizes[GHOST] -= 1
    while sizes[GHOST] + sizes[OLD_GHOST] > slots and sizes[OLD_GHOST] > 0:
        queue[_oldest(queue, stamp, OLD_GHOST)] = ABSENT
        sizes[OLD_GHOST] -= 1


@njit(cache=True, nogil=True)
def replay_arc(ids, num_experts, slots):  # type: ignore[no-untyped-def]
    """Replay ARC (FAST 2003), which has two lists: of experts used once, and used more often.

    Misses on the ghosts of a list make that list longer.
    """
    num_tokens, top_k = ids.shape
    queue = np.zeros(num_experts, np.int8)
    stamp = np.zeros(num_experts, np.int64)
    sizes = np.zeros(5, np.int64)
    missed = np.empty(top_k, np.int32)
    goal = 0.0
    clock = 0
    misses = 0
    for token in range(num_tokens):
        num_missed = 0
        for rank in range(top_k):
            expert = ids[token, rank]
            if queue[expert] == SMALL or queue[expert] == MAIN:
                sizes[queue[expert]] -= 1
                sizes[MAIN] += 1
                queue[expert] = MAIN
                clock += 1
                stamp[expert] = clock
            else:
                missed[num_missed] = expert
                num_missed += 1
        misses += num_missed
        for index in range(num_missed):
            expert = missed[index]
            was = queue[expert]
            if was == GHOST:
                goal = min(float(slots), goal + max(1.0, sizes[OLD_GHOST] / sizes[GHOST]))
            elif was == OLD_GHOST:
                goal = max(0.0, goal - max(1.0, sizes[GHOST] / sizes[OLD_GHOST]))
            if was != ABSENT:
                sizes[was] -= 1
                queue[expert] = ABSENT
            # The goal has just moved towards the list whose ghost was asked for.
            if sizes[SMALL] + sizes[MAIN] >= slots:
                _arc_room(queue, stamp, sizes, goal, was == OLD_GHOST)
            _arc_trim(queue, stamp, sizes, slots)
            target = SMALL if was == ABSENT else MAIN
            clock += 1
            queue[expert] = target
            stamp[expert] = clock
            sizes[target] += 1
    return misses, misses
