"""Successive sampling, compiled: draws without replacement, in proportion to a popularity."""

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, inner

Floats = NDArray[np.float64]
Draws = NDArray[np.float32]
ROUNDING = 2.0**-50
"""A bound on the rounding error of a sum of numbers up to 1, for each term.

Each term is off by at most half of 2⁻⁵², in each of two sums that are compared.
"""
TOGETHER = 64
"""Draws made at once where experts are alike: a few of the processor's vectors."""


def choose(
    popularity: Floats, kept: Floats, draws: Draws, keeps: Draws, chosen: NDArray[np.int16]
) -> None:
    """Fill ``chosen`` [token, layer, rank] with kept choices of the token before, or with draws.

    A draw is in proportion to the ``popularity`` [layer, expert] of the experts that are left.
    ``draws`` and ``keeps`` [token, layer, rank] are random numbers in [0, 1). A choice is kept
    where its number in ``keeps`` is below ``kept`` [layer]. Without ``keeps`` nothing is kept.
    """
    # Uniform routing is the default, and by far the most drawn.
    if keeps.size == 0 and popularity.size and (popularity == popularity[0, 0]).all():
        # A copy: rows that may not be written to would have it compiled a second time.
        _choose_alike(popularity[0].copy(), draws, chosen)
    else:
        _choose_any(popularity, kept, draws, keeps, chosen)


@allocating_kernel
def _choose_alike(popularity: Floats, draws: Draws, chosen: NDArray[np.int16]) -> None:
    """Fill ``chosen`` where nothing is kept and all experts are alike.

    A draw's place among the experts not taken is then a product, computed for many draws at once.
    Where rounding might decide a place, ``_count_out`` makes the choices of that token and layer.
    Rounding thus changes no choice.
    """
    num_cases = draws.shape[0] * draws.shape[1]
    top_k = draws.shape[2]
    draws_CK = draws.reshape(num_cases, top_k)
    chosen_CK = chosen.reshape(num_cases, top_k)
    taken = np.zeros((top_k, TOGETHER), np.int32)
    found = np.zeros(TOGETHER, np.int32)
    targets = np.zeros(TOGETHER)
    is_unsure = np.zeros(TOGETHER, np.int32)
    is_taken = np.zeros(len(popularity), np.bool_)
    for first in range(0, num_cases, TOGETHER):
        num_lanes = min(TOGETHER, num_cases - first)
        left = 1.0
        is_unsure[:] = 0
        for rank in range(top_k):
            for lane in range(num_lanes):
                targets[lane] = draws_CK[first + lane, rank] * left
            _place(popularity, targets, found, is_unsure)
            _pass_over(taken[:rank], found)
            for lane in range(num_lanes):
                chosen_CK[first + lane, rank] = found[lane]
            _take(taken, rank, found)
            left -= popularity[0]
        for lane in range(num_lanes):
            if is_unsure[lane]:
                _count_out(popularity, draws_CK[first + lane], is_taken, chosen_CK[first + lane])


@inner
def _place(
    popularity: Floats, targets: Floats, found: NDArray[np.int32], is_unsure: NDArray[np.int32]
) -> None:
    """Fill ``found`` [lane] with each target's place among the experts that are left.

    The place is the number of experts whose popularity fits into the target together. ``is_unsure``
    [lane] is set where rounding might decide it.
    """
    # A product instead of a division for each lane; the margin below covers its rounding.
    per_share = 1.0 / popularity[0]
    margin = len(popularity) * len(popularity) * ROUNDING
    for lane in range(TOGETHER):
        place = targets[lane] * per_share
        found[lane] = np.int32(place)
        part = place - found[lane]
        is_unsure[lane] |= np.int32((part < margin) | (part > 1.0 - margin))


@inner
def _pass_over(taken: NDArray[np.int32], found: NDArray[np.int32]) -> None:
    """Turn each lane's place among the experts that are left into an expert, in ``found`` [lane].

    ``taken`` [rank, lane] ascend by rank.
    """
    for rank in range(len(taken)):
        for lane in range(TOGETHER):
            # Without a branch, so that lanes go through the processor's vectors together.
            found[lane] += np.int32(taken[rank, lane] <= found[lane])


@inner
def _take(taken: NDArray[np.int32], num_taken: int, found: NDArray[np.int32]) -> None:
    """Insert each lane's expert of ``found`` into ``taken`` [rank, lane], which ascend by rank.

    ``found`` is overwritten.
    """
    for rank in range(num_taken):
        for lane in range(TOGETHER):
            lesser = min(taken[rank, lane], found[lane])
            greater = max(taken[rank, lane], found[lane])
            taken[rank, lane] = lesser
            found[lane] = greater
    for lane in range(TOGETHER):
        taken[num_taken, lane] = found[lane]


@inner
def _count_out(
    popularity: Floats, draws: Draws, is_taken: NDArray[np.bool_], chosen: NDArray[np.int16]
) -> None:
    """Fill ``chosen`` [rank] for one token and layer, counting from expert to expert."""
    left = 1.0
    for rank in range(len(draws)):
        expert = _counted(popularity, is_taken, draws[rank] * left)
        chosen[rank] = expert
        is_taken[expert] = True
        left -= popularity[expert]
    for rank in range(len(draws)):
        is_taken[chosen[rank]] = False


@allocating_kernel
def _choose_any(
    popularity: Floats, kept: Floats, draws: Draws, keeps: Draws, chosen: NDArray[np.int16]
) -> None:
    """Fill ``chosen`` for any popularity, with kept choices or without."""
    num_tokens, num_layers, top_k = draws.shape
    num_experts = popularity.shape[1]
    cumulative = np.empty((num_layers, num_experts))
    guide = np.empty((num_layers, num_experts), np.int32)
    for layer in range(num_layers):
        _index(popularity[layer], cumulative[layer], guide[layer])
    is_taken = np.zeros(num_experts, np.bool_)
    taken = np.empty(top_k, np.int64)
    for token in range(num_tokens):
        for layer in range(num_layers):
            left = 1.0
            for rank in range(top_k):
                expert = np.int64(-1)
                if token > 0 and keeps.shape[2] > 0 and keeps[token, layer, rank] < kept[layer]:
                    expert = np.int64(chosen[token - 1, layer, rank])
                    if is_taken[expert]:
                        expert = np.int64(-1)
                if expert < 0:
                    target = draws[token, layer, rank] * left
                    expert = _looked_up(
                        popularity[layer], cumulative[layer], guide[layer], taken[:rank], target
                    )
                    if expert < 0:
                        expert = _counted(popularity[layer], is_taken, target)
                chosen[token, layer, rank] = expert
                is_taken[expert] = True
                place = rank
                while place > 0 and taken[place - 1] > expert:
                    taken[place] = taken[place - 1]
                    place -= 1
                taken[place] = expert
                left -= popularity[layer, expert]
            for rank in range(top_k):
                is_taken[chosen[token, layer, rank]] = False


@inner
def _counted(popularity: Floats, is_taken: NDArray[np.bool_], target: float) -> np.int64:
    """Return the first expert at which those not taken add up to more than ``target``.

    If they never do, return the last expert not taken that has any popularity.
    """
    expert = np.int64(-1)
    for candidate in range(len(popularity)):
        if is_taken[candidate]:
            continue
        if popularity[candidate] > 0.0 or expert < 0:
            expert = np.int64(candidate)
        target -= popularity[candidate]
        if target < 0.0:
            break
    return expert


@inner
def _index(popularity: Floats, cumulative: Floats, guide: NDArray[np.int32]) -> None:
    """Fill ``cumulative`` [expert] and ``guide`` [place] for ``_looked_up``.

    ``cumulative`` are the sums of the popularity up to each expert. ``guide`` names, of n experts,
    the first whose sum is above 0/n, 1/n, …
    """
    running = 0.0
    first = 0
    num_experts = len(popularity)
    for expert in range(num_experts):
        running += popularity[expert]
        cumulative[expert] = running
    # A guide table (Chen and Asau 1974): a look-up starts where its target's share points, mostly
    # at the answer.
    for place in range(num_experts):
        while first < num_experts - 1 and cumulative[first] <= place / num_experts:
            first += 1
        guide[place] = first


@inner
def _looked_up(
    popularity: Floats,
    cumulative: Floats,
    guide: NDArray[np.int32],
    taken: NDArray[np.int64],
    target: float,
) -> np.int64:
    """Return the expert that ``_counted`` returns, without counting.

    -1 where rounding might decide, so that rounding changes no choice. ``taken`` [rank] ascend.
    """
    for expert in taken:  # the target among all experts has what the taken before it have, besides
        if cumulative[expert] - popularity[expert] > target:
            break
        target += popularity[expert]
    num_experts = len(cumulative)
    found = np.int64(guide[min(max(int(target * num_experts), 0), num_experts - 1)])
    while found < num_experts - 1 and cumulative[found] <= target:
        found += 1
    before = cumulative[found - 1] if found > 0 else 0.0
    # Sums in another order may differ by rounding; near a border the exact count decides.
    margin = num_experts * ROUNDING
    return found if before + margin < target < cumulative[found] - margin else np.int64(-1)
