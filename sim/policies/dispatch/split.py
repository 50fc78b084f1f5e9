"""Which missing experts of a layer the CPU computes and which are fetched: the compiled rules behind the dispatch parts."""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel
from sim.policies.actions import Action

Rows = NDArray[Any]


class Rule(IntEnum):
    """The rules, numbered for compiled code.

    CHEAPEST: fetched if the CPU is believed dearer (strictly); CHEAPEST_OR_TIE: or as dear. BALANCED: the fewest tokens
    to the CPU, so many that max(sum on the CPU, sum of fetches) is least. THREE_LANES: the same with the GPU's resident work in the
    second lane, copies and GPU runs overlapping. SPILL: residents may go to the CPU too, see ``spilling``.
    """

    CPU = 0
    FETCH = 1
    CHEAPEST = 2
    CHEAPEST_OR_TIE = 3
    BALANCED = 4
    THREE_LANES = 5
    SPILL = 6


_CPU, _FETCH = int(Action.CPU), int(Action.FETCH)
_TO_CPU, _TO_GPU, _CHEAPEST, _OR_TIE = int(Rule.CPU), int(Rule.FETCH), int(Rule.CHEAPEST), int(Rule.CHEAPEST_OR_TIE)
_BALANCED = int(Rule.BALANCED)


@kernel
def split_row(rule, tokens, is_miss, on_cpu, copies, on_gpu, resident, actions):
    """Write CPU or FETCH for every miss of one layer [expert].

    Believed ns: ``on_cpu`` there, ``copies`` of its weights, ``on_gpu`` its run; ``resident`` the GPU's other work.
    """
    num_experts = len(tokens)
    for expert in range(num_experts):
        if is_miss[expert]:
            there = copies[expert] + on_gpu[expert]
            is_fetched = rule == _TO_GPU or (rule == _CHEAPEST and on_cpu[expert] > there) or (rule == _OR_TIE and on_cpu[expert] >= there)
            actions[expert] = _FETCH if is_fetched else _CPU
    if rule < _BALANCED:
        return
    on_link, on_stream, on_core = np.int64(0), np.int64(resident), np.int64(0)
    for expert in range(num_experts):
        if is_miss[expert]:
            actions[expert] = _FETCH
            on_link += copies[expert]
            on_stream += on_gpu[expert]
    best = max(on_link, on_stream) if rule != _BALANCED else on_link + on_stream - resident
    while True:
        lightest = -1
        for expert in range(num_experts):
            if is_miss[expert] and actions[expert] == _FETCH and (lightest < 0 or tokens[expert] < tokens[lightest]):
                lightest = expert
        if lightest < 0:
            return
        on_link -= copies[lightest]
        on_stream -= on_gpu[lightest]
        on_core += on_cpu[lightest]
        other = max(on_link, on_stream) if rule != _BALANCED else on_link + on_stream - resident
        if max(on_core, other) >= best:
            return
        best = max(on_core, other)
        actions[lightest] = _CPU


@kernel
def split_rows(rule: int, tokens: Rows, is_miss: Rows, on_cpu: Rows, copies: Rows, on_gpu: Rows, actions: Rows) -> None:
    """``split_row`` for every case [case, expert], with no other work on the GPU."""
    for case in range(len(tokens)):
        split_row(rule, tokens[case], is_miss[case], on_cpu[case], copies[case], on_gpu[case], 0, actions[case])
