"""Where an exported text puts bytes, beside what its plan says."""

from dataclasses import replace

import numpy as np

from planner.export.runtimes import WRITERS
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.placing import placement_of
from sim.runtimes.question import RuntimeQuestion


def misplaced_bytes(question: RuntimeQuestion, form: str, text: str) -> float:
    """Return the bytes that an exported text puts elsewhere than the question's arguments do.

    Zero for an exporter that conforms.
    """
    line = WRITERS[question.runtime].arguments_in(form, text)
    read = read_runtime_arguments(question.runtime, line)
    wanted = placement_of(question)
    found = placement_of(replace(question, arguments=read))
    # What one place lacks another has too much, so each byte counts twice.
    apart = np.abs(wanted.weight_bytes - found.weight_bytes).sum() / 2
    return float(apart)
