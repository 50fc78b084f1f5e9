"""Notes of what spills came to, so that equal cases are split once: compiled.

Where all selected experts get as many tokens, a spill depends on how many of them miss and hit
alone, and of both the lowest numbers go to the CPU. So it is in decoding one sequence, and above all
in simulating the layers ahead of each gate.
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
    """``found`` [layer shape, misses, hits; end in ns, misses and hits on the CPU] is what spills
    came to (end -1: not known) in the ``cases`` [layer shape; as in Alike].

    They are of one case of each layer shape at a time: in another, notes are forgotten.
    """

    cases: NDArray[np.int64]
    found: NDArray[np.int64]


class Alike(NamedTuple):
    """A layer's case whose selected experts get ``tokens`` each and take ``copy_ns`` to copy.

    ``other_ns`` is the GPU's work besides them, ``num_tokens`` the tokens of the pass.
    """

    tokens: Whole
    other_ns: Whole
    num_tokens: Whole
    copy_ns: Whole


def most_alike(problem: Problem, num_tokens: NDArray[np.int32]) -> int:
    """The most experts of a layer for which notes are kept: as many as the smallest pass selects."""
    return min(problem.model.num_experts, problem.model.top_k * int(num_tokens.min(initial=1)))


@inner
def open_notes(notes, shape, alike):
    """Make the notes of that layer shape those of this case: forget them if they are of another."""
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
    """Send as many misses and hits to the CPU, from the lowest number; the other misses are
    fetched.
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
