"""The least time of a cell with few experts, for every set of missing experts and every set on the
CPU.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.bounds.compilation import bound_kernel


class Ways(NamedTuple):
    """All ways to run the experts of a cell, with a base-3 digit for each expert.

    Digit 0 leaves an expert on the GPU, 1 runs it on the CPU, 2 copies it to the GPU. ``chosen``
    and ``copied`` [way] are the sets of the experts with digits 1 and 2, a bit for each expert.
    ``num_chosen`` [set] is the number of members of a set.
    """

    chosen: NDArray[np.int64]
    copied: NDArray[np.int64]
    num_chosen: NDArray[np.int64]


@bound_kernel
def ways_of(size):  # type: ignore[no-untyped-def]
    """Return all ways to run up to ``size`` experts."""
    chosen = np.zeros(3**size, np.int64)
    copied = np.zeros(3**size, np.int64)
    num_chosen = np.zeros(1 << size, np.int64)
    for place in range(size):
        member = 1 << place
        digit = 3**place
        for way in range(digit):
            chosen[digit + way], copied[digit + way] = chosen[way] | member, copied[way]
            chosen[2 * digit + way], copied[2 * digit + way] = chosen[way], copied[way] | member
        for rest in range(member):
            num_chosen[member + rest] = num_chosen[rest] + 1
    return Ways(chosen, copied, num_chosen)


@bound_kernel
def try_sets(work, cell, ways, by_set):  # type: ignore[no-untyped-def]
    """Fill ``by_set`` [set of missing experts] with the least ns over all sets that the CPU may
    run.
    """
    first = work.offsets[cell]
    size = work.offsets[cell + 1] - work.offsets[cell]
    share = work.time_share[cell]
    link_share = work.link_share[cell]
    num_sets = 1 << size
    num_ways = 3**size
    longer, chain, up, least_gpu = (
        np.zeros(num_sets),
        np.zeros(num_sets),
        np.zeros(num_sets),
        np.zeros(num_sets),
    )
    on_cpu = np.zeros(num_sets)
    off_gpu = np.zeros(num_sets)
    sent = np.zeros(num_sets, np.int64)
    all_gpu, copies = (
        work.beside[cell] + work.gpu[first : first + size].sum(),
        ways.num_chosen[:num_sets] * work.fetch[cell],
    )
    longer[0] = all_gpu
    for place in range(size):
        expert, member = first + place, 1 << place
        for rest in range(member):
            chosen = member + rest
            on_cpu[chosen], off_gpu[chosen] = (
                on_cpu[rest] + work.cpu[expert],
                off_gpu[rest] + work.gpu[expert],
            )
            sent[chosen] = sent[rest] + work.tokens[expert]
            least_gpu[chosen] = min(least_gpu[rest], work.gpu[expert]) if rest else work.gpu[expert]
            moved = min(sent[chosen], work.num_tokens[cell])
            up[chosen] = work.up[moved]
            chain[chosen] = on_cpu[chosen] + up[chosen] + work.down[moved]
            longer[chosen] = max(all_gpu - off_gpu[chosen], chain[chosen])
    least, reduced = np.empty(num_ways), np.empty(num_ways)
    for way in range(num_ways):
        chosen, copied = ways.chosen[way], ways.copied[way]
        if work.is_early[cell]:
            least[way] = share * longer[chosen] + link_share * (copies[copied] + up[chosen])
        else:  # without copies the link is no longer than the CPU's chain
            link = copies[copied] + max(up[chosen], least_gpu[copied])
            least[way] = share * max(longer[chosen], link) + link_share * max(
                chain[chosen], copies[copied]
            )
    # Expert by expert, from the last: a missing one is chosen or copied, another one chosen or
    # neither.
    for place in range(size - 1, -1, -1):
        digit = 3**place
        for others in range(1 << (size - 1 - place)):
            stays, runs, comes = (
                3 * others * digit,
                (3 * others + 1) * digit,
                (3 * others + 2) * digit,
            )
            here, away = 2 * others * digit, (2 * others + 1) * digit
            for way in range(digit):
                reduced[here + way] = min(least[stays + way], least[runs + way])
                reduced[away + way] = min(least[runs + way], least[comes + way])
        least, reduced = reduced, least
    by_set[:num_sets] = least[:num_sets]


@bound_kernel
def mean_of_sets(by_set, num_missing, size, cap, least):  # type: ignore[no-untyped-def]
    """Fill ``least`` [missing] with the mean ns over all sets of so many missing experts.

    No set counts more than ``cap`` ns.
    """
    total = np.zeros(size + 1)
    number = np.zeros(size + 1)
    for away in range(1 << size):
        missing = num_missing[away]
        total[missing] += min(by_set[away], cap)
        number[missing] += 1
    least[: size + 1] = total / number
