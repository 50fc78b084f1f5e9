"""Cache replay: hit rates of a layer's experts under LRU, LFU and Belady, without a clock.

All experts that a token selects in a layer are decided at once. A selected expert hits if it was
resident before the token. Caches start empty. After the hits are counted, the missing experts come
in, by ascending number. Each takes a free slot or the place of another expert. An expert that the
token itself selected leaves only where no other is left. Of the experts that a token selects, those
that hit count as used before those that miss, each by number. Remaining ties go to the lower expert
number. The caches of a simulated run obey the same rules.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, allocating_part

NEVER = np.iinfo(np.int64).max
NOBODY = -1


class CachePolicy(IntEnum):
    """A rule for which expert leaves a full cache.

    LRU: the one selected longest ago. LFU: the one with the fewest selections since the trace
    began, also counted while it was absent; of equal ones, the one selected longest ago. BELADY:
    the one selected next furthest in the future, even if it was just selected. Under BELADY a
    missing expert stays out if it is needed no sooner than all residents. No policy has more hits.
    """

    LRU = 0
    LFU = 1
    BELADY = 2


def hit_rates(
    expert_ids: NDArray[np.int16], num_experts: int, capacity: int, policy: CachePolicy
) -> NDArray[np.float64]:
    """Return the share of selections that hit [layer], over ``expert_ids`` [token, layer, rank].

    ``capacity`` is the number of experts that a layer's cache holds. Tokens are replayed one by
    one.
    """
    tokens, layers, top_k = expert_ids.shape
    hits = np.empty(layers, np.int64)
    for layer in range(layers):
        # By number within a token, which makes the result independent of ranks.
        ids = np.sort(expert_ids[:, layer], axis=1)
        following = (
            next_uses(ids, num_experts)
            if policy is CachePolicy.BELADY
            else np.empty((0, top_k), np.int64)
        )
        hits[layer] = _replay(ids, following, num_experts, capacity, int(policy))
    return np.asarray(hits / (tokens * top_k))


@allocating_kernel
def next_uses(ids, num_experts):  # type: ignore[no-untyped-def]
    """Return the next token that selects the same expert [token, rank]; NEVER where none does."""
    following = np.empty(ids.shape, np.int64)
    upcoming = np.full(num_experts, NEVER, np.int64)
    for token in range(len(ids) - 1, -1, -1):
        for rank in range(ids.shape[1]):
            following[token, rank] = upcoming[ids[token, rank]]
        for rank in range(ids.shape[1]):
            upcoming[ids[token, rank]] = token
    return following


@allocating_kernel
def _replay(ids, following, num_experts, capacity, policy):  # type: ignore[no-untyped-def]
    """Return the number of hits of one layer; ``ids`` [token, rank] ascend within a token.

    The resident expert of the least ``worth`` leaves; of equal ones, the one ``used`` longest ago.
    An expert's worth is its number of selections under LFU, minus its next use under BELADY, and 0
    under LRU.
    """
    resident = np.zeros(num_experts, np.bool_)
    selected_at = np.full(num_experts, -1)
    worth = np.zeros(num_experts, np.int64)
    used = np.zeros(num_experts, np.int64)
    clock = held = hits = 0
    missing = np.empty(ids.shape[1], np.int64)
    for token in range(len(ids)):
        num_missing = 0
        # Hits first, as they count as used before what comes in.
        for is_hit in (True, False):
            for rank in range(ids.shape[1]):
                expert = ids[token, rank]
                if resident[expert] != is_hit:
                    continue
                if policy == CachePolicy.BELADY:
                    worth[expert] = -following[token, rank]
                else:
                    clock += 1
                    used[expert] = clock
                    selected_at[expert] = token
                    worth[expert] += policy == CachePolicy.LFU
                if is_hit:
                    hits += 1
                else:
                    missing[num_missing] = expert
                    num_missing += 1
        for expert in missing[:num_missing]:
            if held < capacity:
                held += 1
            else:
                victim = _victim(resident, worth, used, selected_at, token)
                if victim == NOBODY or (
                    # Belady with bypass: what is used later than all that is held stays out.
                    policy == CachePolicy.BELADY and worth[victim] >= worth[expert]
                ):
                    continue
                resident[victim] = False
            resident[expert] = True
    return hits


@allocating_part
def _victim(resident, worth, used, selected_at, token):  # type: ignore[no-untyped-def]
    """The resident expert that leaves first; NOBODY where there is none."""
    victim = NOBODY
    for expert in range(len(resident)):
        if not resident[expert]:
            continue
        if victim == NOBODY:
            victim = expert
        # What the token itself selected goes last, whatever its worth.
        elif (selected_at[expert] == token) != (selected_at[victim] == token):
            if selected_at[victim] == token:
                victim = expert
        elif worth[expert] < worth[victim] or (
            worth[expert] == worth[victim] and used[expert] < used[victim]
        ):
            victim = expert
    return victim
