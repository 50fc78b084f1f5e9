"""Running mutants through parsers: each is read, or refused in one line, in little time and memory."""

import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from hwprofiles import InputError
from hwprofiles.errors import one_line
from hwprofiles.units import KIB, MIB
from tests.fuzz.formats import Format
from tests.fuzz.mutation import MUTANTS, mutated_bytes

LIMIT_S = 2.0
LIMIT_BYTES = 500 * MIB
BYTES_SHARE = 0.4
"""Of mutants that differ in their bytes; the others differ in what they say."""


@dataclass
class Report:
    """What came of the mutants: how many were read and refused, by format, and what should not have
    been.
    """

    num_read: Counter[str] = field(default_factory=Counter)
    num_refused: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def num_inputs(self) -> int:
        """All mutants."""
        return self.num_read.total() + self.num_refused.total() + len(self.faults)


class _TooSlow(BaseException):
    """A reader took longer than it may."""


def fuzz(formats: list[Format], num_inputs: int, seed: int, folder: Path) -> Report:
    """Run so many mutants, the formats in turn; the same seed makes the same files."""
    random, report = Random(seed), Report()
    for number in range(num_inputs):
        each = formats[number % len(formats)]
        data = _mutant(random, each)
        fault = _fault_of(each, data, folder / f"file{each.suffix}", report)
        if fault is not None:
            report.faults.append((each.name, fault, data))
    return report


def _mutant(random: Random, each: Format) -> bytes:
    seed = random.choice(each.seeds)
    if random.random() < BYTES_SHARE or each.suffix not in MUTANTS:
        return mutated_bytes(random, seed)
    return MUTANTS[each.suffix](random, seed)


def _fault_of(each: Format, data: bytes, path: Path, report: Report) -> str | None:
    """What is wrong with how the file was taken; None where it was read or refused as it should be."""
    path.write_bytes(data)
    peak = _peak_bytes()
    try:
        with _in_time():
            each.read(path)
        report.num_read[each.name] += 1
    except InputError as error:
        line = one_line(str(error))
        if str(path) not in line:
            return f"names no file: {line}"
        report.num_refused[each.name] += 1
    except _TooSlow:
        return f"takes longer than {LIMIT_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    grown = _peak_bytes() - peak
    return f"takes {grown:,} bytes" if grown > LIMIT_BYTES else None


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB
