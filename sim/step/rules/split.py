"""Which missing experts of a layer the CPU computes and which are fetched: the compiled rules
behind the dispatch parts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, kernel, part
from sim.policies.actions import Action
from sim.policies.dispatch.rule import Rule
from sim.step.rules.around import COPIES, ON_CPU, ON_GPU, LayerCase

Rows = NDArray[Any]


_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_TO_GPU = int(Rule.FETCH)
_CHEAPEST = int(Rule.CHEAPEST)
_OR_TIE = int(Rule.CHEAPEST_OR_TIE)
_BALANCED = int(Rule.BALANCED)


@part
def find_selected(tokens, places):
    """Fill ``places`` with the experts that have tokens, ascending; return how many there are.

    ``places`` needs room for one more than there are experts.
    """
    number = 0
    for expert in range(len(tokens)):  # without a branch that a processor could mispredict
        places[number] = expert
        number += tokens[expert] > 0
    return number


@part
def split_row(rule, case, resident, link_busy, actions):
    """Write CPU or FETCH for every miss of one layer [expert]; return the believed end of its lanes
    (ns).

    ``resident`` is the GPU's other work, ``link_busy`` how long the link is not free, both in ns.
    Of experts with equally many tokens, the CPU takes those of the longest copies first.
    """
    tokens = case.tokens
    is_miss = case.is_miss
    on_cpu = case.priced[ON_CPU]
    copies = case.priced[COPIES]
    on_gpu = case.priced[ON_GPU]
    waits = 0
    on_link = np.int64(link_busy)
    on_stream = np.int64(resident)
    on_core = np.int64(0)
    for expert in case.selected:
        if is_miss[expert]:
            there = link_busy + copies[expert] + on_gpu[expert]
            weighed = (rule == _CHEAPEST and on_cpu[expert] > there) or (
                rule == _OR_TIE and on_cpu[expert] >= there
            )
            if rule == _TO_GPU or rule >= _BALANCED or weighed:
                actions[expert] = _FETCH
                waits += 1
                on_link += copies[expert]
                on_stream += on_gpu[expert]
            else:
                actions[expert] = _CPU
                on_core += on_cpu[expert]
    best = max(on_core, _fetched(rule, waits, on_link, on_stream, resident))
    if rule < _BALANCED:
        return best
    # One at a time, the cheapest for the CPU first: there are few misses, and sorting needs room.
    while True:
        lightest = -1
        for expert in case.selected:
            if (
                is_miss[expert]
                and actions[expert] == _FETCH
                and (lightest < 0 or _goes_first(tokens, copies, expert, lightest))
            ):
                lightest = expert
        if lightest < 0:
            return best
        waits -= 1
        on_link -= copies[lightest]
        on_stream -= on_gpu[lightest]
        on_core += on_cpu[lightest]
        end = max(on_core, _fetched(rule, waits, on_link, on_stream, resident))
        if end >= best:
            return best
        best = end
        actions[lightest] = _CPU


@inner
def _goes_first(tokens, copies, expert, other):
    return tokens[expert] < tokens[other] or (
        tokens[expert] == tokens[other] and copies[expert] > copies[other]
    )


@inner
def _fetched(rule, waits, on_link, on_stream, resident):
    """Return when link and GPU end; the link counts only if an expert waits for it.

    With the rule BALANCED, copies and runs of misses are added up.
    """
    link = on_link if waits > 0 else 0
    return link + on_stream - resident if rule == _BALANCED else max(link, on_stream)


@kernel
def split_rows(
    rule: int,
    everyone: Rows,
    tokens: Rows,
    is_miss: Rows,
    priced: Rows,
    actions: Rows,
) -> None:
    """Apply ``split_row`` to every case [case, expert], with no other work on the GPU.

    ``priced`` is [case, 3, expert].
    """
    for number in range(len(tokens)):
        row = is_miss[number]
        case = LayerCase(everyone, tokens[number], row, row, priced[number])
        split_row(rule, case, 0, 0, actions[number])
