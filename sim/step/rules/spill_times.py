"""The expected time of a layer whose experts are split over GPU, link and CPU, residents included,
by how many it holds. Compiled.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, part
from sim.step.rules.spilling import GROUP_CPU, MAY_SPILL, ROOM, spill_row
from sim.step.rules.split import find_selected

Rows = NDArray[Any]
_HALVINGS = 24
_ROUNDING_NS = 1e-3
"""What sums of floats may leave over."""


@allocating_kernel
def spill_times(
    tokens: Rows,
    cpu: Rows,
    gpu: Rows,
    copy: Rows,
    dense_ns: int,
    num_tokens: int,
    activations: Rows,
    fixed: Rows,
    most_split: int,
    times: Rows,
) -> None:
    """Fill ``times`` [residents from 0 to all] with the mean ns over samples [sample, expert from
    the most popular].

    Up to ``most_split`` selected experts are split as SpillDispatch splits them; more are taken as
    divisible.
    """
    num_experts = tokens.shape[1]
    is_miss = np.zeros(num_experts, np.bool_)
    is_held = np.zeros(num_experts, np.bool_)
    actions = np.zeros(num_experts, np.uint8)
    priced = np.zeros((3, num_experts), np.int64)
    room = np.empty((ROOM, num_experts), np.int64)
    places = np.empty(num_experts + 1, np.int64)
    times[:] = 0
    for sample in range(len(tokens)):
        selected = places[: find_selected(tokens[sample], places)]
        copies = 0.0
        runs = 0.0
        works = 0.0
        for expert in range(num_experts):
            is_miss[expert] = tokens[sample, expert] > 0
            is_held[expert] = False
            priced[0, expert], priced[1, expert], priced[2, expert] = (
                cpu[sample, expert],
                copy[sample, expert],
                gpu[sample, expert],
            )
            copies += copy[sample, expert]
            runs += gpu[sample, expert]
            works += cpu[sample, expert]
        held_runs = 0.0
        held_works = 0.0
        end = 0.0
        rows = min(num_tokens, tokens[sample].sum())
        handing = activations[0, rows] + activations[1, rows] + fixed[GROUP_CPU]
        for held in range(num_experts + 1):
            if held > 0 and is_miss[held - 1]:
                is_miss[held - 1], is_held[held - 1] = False, True
                copies -= copy[sample, held - 1]
                runs -= gpu[sample, held - 1]
                works -= cpu[sample, held - 1]
                held_runs += gpu[sample, held - 1]
                held_works += cpu[sample, held - 1]
            if held == 0 or is_held[held - 1]:
                if len(selected) > most_split:
                    spillable = held_runs if fixed[MAY_SPILL] == 1 else 0.0
                    other = dense_ns + held_runs - spillable
                    end = _divisible_ns(copies, runs, works, spillable, held_works, other, handing)
                else:
                    end = spill_row(
                        selected,
                        tokens[sample],
                        is_miss,
                        is_held,
                        priced,
                        dense_ns,
                        num_tokens,
                        activations,
                        fixed,
                        room,
                        actions,
                    )
            times[held] += end / len(tokens)


@part
def _divisible_ns(copies, runs, works, held_runs, held_works, other, handing):
    """The earliest end of link, GPU and CPU when misses (copies, runs, works) and residents can be
    divided at will.
    """
    low = 0.0
    high = max(other + held_runs + runs, copies)
    for _ in range(_HALVINGS):
        end = (low + high) / 2
        away = max(0.0, 1.0 - end / copies) if copies >= _ROUNDING_NS else 0.0
        excess = max(0.0, other + held_runs + runs * (1.0 - away) - end)
        spilt = min(1.0, excess / held_runs) if held_runs > 0.0 else 0.0
        excess -= spilt * held_runs
        if excess >= _ROUNDING_NS and runs >= _ROUNDING_NS:
            away += excess / runs
        is_left = excess >= _ROUNDING_NS > runs
        if is_left or away > 1.0 + 1e-9 or handing + away * works + spilt * held_works > end:
            low = end
        else:
            high = end
    return high
