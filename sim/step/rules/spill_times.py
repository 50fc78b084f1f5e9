"""The expected time of a layer by its number of residents: compiled.

Its experts, residents too, are split over GPU, link and CPU.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, part
from sim.step.rules.around import COPIES, GROUP_CPU, MAY_SPILL, ON_CPU, ON_GPU, Beside, LayerCase
from sim.step.rules.spilling import ROOM, spill_row
from sim.step.rules.split import find_selected

Rows = NDArray[Any]
_HALVINGS = 24
_ROUNDING_NS = 1e-3
"""The rounding error that sums of floats may leave, in ns."""


class Loads(NamedTuple):
    """The total ns of some experts on each lane by itself.

    ``copies`` are those of the link, ``runs`` those of the GPU, ``works`` those of the CPU.
    """

    copies: float
    runs: float
    works: float


class Scratch(NamedTuple):
    """Working room that each sample uses in turn; ``ends`` [residents from 0 to all] in ns."""

    is_miss: Rows
    is_held: Rows
    actions: Rows
    priced: Rows
    room: Rows
    places: Rows
    ends: Rows


@allocating_kernel
def spill_times(tokens: Rows, priced: Rows, beside: Beside, most_split: int, times: Rows) -> None:
    """Fill ``times`` [residents from 0 to all] with the mean ns of a layer over samples.

    ``tokens`` is [sample, expert], experts from the most popular on. ``priced`` is ns [CPU, copy,
    GPU; sample, expert]. Up to ``most_split`` selected experts are split as SpillDispatch splits
    them; more are taken as divisible.
    """
    num_experts = tokens.shape[1]
    scratch = Scratch(
        np.zeros(num_experts, np.bool_),
        np.zeros(num_experts, np.bool_),
        np.zeros(num_experts, np.uint8),
        np.zeros((3, num_experts), np.int64),
        np.empty((ROOM, num_experts), np.int64),
        np.empty(num_experts + 1, np.int64),
        np.empty(num_experts + 1, np.float64),
    )
    times[:] = 0
    for sample in range(len(tokens)):
        _time_sample(tokens[sample], priced[:, sample], beside, most_split, scratch)
        for held in range(num_experts + 1):
            times[held] += scratch.ends[held] / len(tokens)


@part
def _time_sample(tokens, priced, beside, most_split, scratch):
    """Fill ``scratch.ends`` with the end of one sample, from no resident to all of them."""
    num_experts = len(tokens)
    is_miss = scratch.is_miss
    is_held = scratch.is_held
    selected = scratch.places[: find_selected(tokens, scratch.places)]
    copies = 0.0
    runs = 0.0
    works = 0.0
    for expert in range(num_experts):
        is_miss[expert] = tokens[expert] > 0
        is_held[expert] = False
        for lane in range(3):
            scratch.priced[lane, expert] = priced[lane, expert]
        copies += priced[COPIES, expert]
        runs += priced[ON_GPU, expert]
        works += priced[ON_CPU, expert]
    case = LayerCase(selected, tokens, is_miss, is_held, scratch.priced)
    missing = Loads(copies, runs, works)
    kept = Loads(0.0, 0.0, 0.0)
    end = 0.0
    for held in range(num_experts + 1):
        is_other = held > 0 and is_miss[held - 1]
        if is_other:
            # One more resident, the next by popularity.
            last = held - 1
            is_miss[last] = False
            is_held[last] = True
            copy = priced[COPIES, last]
            run = priced[ON_GPU, last]
            work = priced[ON_CPU, last]
            missing = Loads(missing.copies - copy, missing.runs - run, missing.works - work)
            kept = Loads(0.0, kept.runs + run, kept.works + work)
        # An expert that is not selected changes nothing by being there.
        if held == 0 or is_other:
            if len(selected) > most_split:
                end = _divisible_ns(missing, kept, tokens, beside)
            else:
                end = float(spill_row(case, beside, scratch.room, scratch.actions))
        scratch.ends[held] = end


@part
def _divisible_ns(missing, kept, tokens, beside):
    """Return the earliest end of link, GPU and CPU (ns), if misses and residents can be divided at
    will.
    """
    rows = min(beside.num_tokens, tokens.sum())
    handing = beside.activations[0, rows] + beside.activations[1, rows] + beside.fixed[GROUP_CPU]
    spillable = kept.runs if beside.fixed[MAY_SPILL] == 1 else 0.0
    other = beside.dense_ns + kept.runs - spillable
    low = 0.0
    high = max(other + spillable + missing.runs, missing.copies)
    for _ in range(_HALVINGS):
        end = (low + high) / 2
        away = max(0.0, 1.0 - end / missing.copies) if missing.copies >= _ROUNDING_NS else 0.0
        excess = max(0.0, other + spillable + missing.runs * (1.0 - away) - end)
        spilt = min(1.0, excess / spillable) if spillable > 0.0 else 0.0
        excess -= spilt * spillable
        if excess >= _ROUNDING_NS and missing.runs >= _ROUNDING_NS:
            away += excess / missing.runs
        is_left = excess >= _ROUNDING_NS > missing.runs
        on_cpu = handing + away * missing.works + spilt * kept.works
        if is_left or away > 1.0 + 1e-9 or on_cpu > end:
            low = end
        else:
            high = end
    return high
