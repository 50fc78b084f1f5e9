"""Notes on splits by ``spill_row``, so that equal cases are split once: compiled.

If all selected experts get the same number of tokens, a split depends only on the numbers of misses
and hits. Of both, the experts with the lowest numbers go to the CPU. This is so when one sequence
is decoded, and above all when a gate simulates the layers ahead of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner
from sim.policies.actions import Action
from sim.policies.problem import Problem
from sim.step.rules.around import Whole

_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)


class SpillNotes(NamedTuple):
    """Notes on splits for one case of each layer shape at a time; another case discards them.

    ``cases`` [layer shape; fields of Alike] are the cases. ``found`` [layer shape, misses, hits]
    has three entries: the end in ns (-1: not known), the misses and the hits on the CPU.
    """

    cases: NDArray[np.int64]
    found: NDArray[np.int64]


class Alike(NamedTuple):
    """A case of a layer whose selected experts all get ``tokens`` and take ``copy_ns`` to copy.

    ``other_ns`` is the GPU's work besides them, ``num_tokens`` the tokens of the pass.
    """

    tokens: Whole
    other_ns: Whole
    num_tokens: Whole
    copy_ns: Whole


def most_alike(problem: Problem, num_tokens: NDArray[np.int32]) -> int:
    """Return the most selected experts for which notes are kept: as many as the smallest pass
    selects.
    """
    return min(problem.model.num_experts, problem.model.top_k * int(num_tokens.min(initial=1)))


@inner
def open_notes(notes, shape, alike):
    """Open the notes of a layer shape for a case; notes on another case are discarded."""
    before = notes.cases[shape]
    if (
        before[0] != alike.tokens
        or before[1] != alike.other_ns
        or before[2] != alike.num_tokens
        or before[3] != alike.copy_ns
    ):
        before[0] = alike.tokens
        before[1] = alike.other_ns
        before[2] = alike.num_tokens
        before[3] = alike.copy_ns
        notes.found[shape] = -1


@inner
def write_note(note, end_ns, selected, is_miss, actions):
    """Note when a layer ends, and count the misses and the hits that go to the CPU."""
    note[0] = end_ns
    note[1] = 0
    note[2] = 0
    for expert in selected:
        if actions[expert] == _CPU:
            note[1 if is_miss[expert] else 2] += 1


@inner
def spill_as_noted(note, selected, is_miss, actions):
    """Send as many misses and hits to the CPU as noted, from the lowest number on.

    The other misses are fetched.
    """
    misses = note[1]
    hits = note[2]
    for expert in selected:
        if is_miss[expert]:
            actions[expert] = _CPU if misses > 0 else _FETCH
            misses -= 1
        elif hits > 0:
            actions[expert] = _CPU
            hits -= 1
