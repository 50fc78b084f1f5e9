"""Read cases, in each of which several arms ran on one machine, from a file with a line an arm."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwprofiles import InputError
from hwprofiles.input_file import read_text
from sim.runtimes.constants import Phase

NEEDED = ("case", "phase", "arm", "machine", "model", "runtime", "args", "tokens_per_s")
PHASES: Mapping[str, Phase] = {"decode": "decode", "prefill": "prefill"}
NOT_SCORED = ("leave out of regret", "outside the ladder")
"""Words of a note that take an arm out of the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredArm:
    """One arm of a case.

    ``speed`` is tokens a second, or relative to the case's base if only that is published.
    """

    case: str
    phase: Phase
    arm: str
    machine: str
    model: str
    runtime: str
    args: str
    speed: float
    is_relative: bool = False
    quantization: str = ""
    probe: str = ""
    rig: str = ""
    note: str = ""
    source: str = ""

    @property
    def is_scored(self) -> bool:
        """Whether the arm takes part in the comparison; its note may take it out."""
        return not any(words in self.note for words in NOT_SCORED)

    @property
    def row_id(self) -> str | None:
        """Id of the measured row that the note names: ``row ik490-0122``."""
        found = re.search(r"\brow ([\w.-]+)", self.note)
        return found[1] if found else None

    @property
    def hit_fraction(self) -> float | None:
        """Hit rate that the note states: ``hits 52 %``."""
        found = re.search(r"hits ([0-9]+(?:\.[0-9]+)?) ?%", self.note)
        return float(found[1]) / 100 if found else None


def read_cases(path: Path) -> dict[tuple[str, Phase], list[MeasuredArm]]:
    """Every arm of a CSV file by case and phase, in the file's order.

    Raises InputError, one line, for a missing file or column, an unknown phase or a wrong number.
    """
    text = read_text(path, "table of cases", "CSV")
    reader = csv.DictReader(text.splitlines())
    cases: dict[tuple[str, Phase], list[MeasuredArm]] = {}
    try:
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: column {missing[0]} is missing; needed: {', '.join(NEEDED)}")
        # The first line has the names of columns.
        for number, record in enumerate(reader, start=2):
            arm = _arm(f"{path}:{number}", record)
            cases.setdefault((arm.case, arm.phase), []).append(arm)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: broken CSV: {error}") from None
    if not cases:
        raise InputError(f"{path}: no cases; at least one is needed")
    return cases


def _arm(where: str, record: Mapping[str, str | None]) -> MeasuredArm:
    def text(name: str) -> str:
        """Return the column's text without surrounding spaces."""
        return (record.get(name) or "").strip()

    if text("phase") not in PHASES:
        raise InputError(f"{where}: phase {text('phase')!r} is neither decode nor prefill")
    names = ("case", "arm", "machine", "model", "runtime", "args", "quantization", "probe")
    return MeasuredArm(
        phase=PHASES[text("phase")],
        # Some sources publish ratios alone, which suffice for regret and order.
        speed=_speed(where, text("tokens_per_s") or text("relative_to_base")),
        is_relative=not text("tokens_per_s"),
        **{name: text(name) for name in (*names, "rig", "note", "source")},
    )


def _speed(where: str, text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        # Zero fails the check below, so every wrong number gets one message.
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise InputError(
            f"{where}: tokens_per_s or relative_to_base must be a number above 0, got {text!r}"
        )
    return speed
