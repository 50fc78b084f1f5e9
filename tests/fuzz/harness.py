"""Running mutants through parsers: each is read, or refused in one line, in little time and memory.

A mutant depends on the seed and on its number alone, so that any process can make it again.
"""

import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from hwprofiles import InputError
from hwprofiles.errors import one_line
from hwprofiles.units import KIB, MIB
from tests.fuzz.format import Format
from tests.fuzz.mutation import MUTANTS, mutated_bytes

LIMIT_S = 2.0
"""Of the processor's time, so that what else runs on the computer changes no outcome."""
LIMIT_BYTES = 500 * MIB
AGAIN_S = 0.5
"""Between two attempts to stop a reader: Python drops what is raised inside a finaliser."""
BYTES_SHARE = 0.4
"""Of mutants that differ in their bytes; the others differ in what they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A mutant that was not taken as it should be."""

    number: int
    format_name: str
    what: str


@dataclass
class Report:
    """What came of the mutants: how many were read and refused, by format, and the faults."""

    num_read: Counter[str] = field(default_factory=Counter)
    num_refused: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    @property
    def num_inputs(self) -> int:
        """All mutants."""
        return self.num_read.total() + self.num_refused.total() + len(self.faults)

    def add(self, other: "Report") -> None:
        """Take in what came of other mutants."""
        self.num_read.update(other.num_read)
        self.num_refused.update(other.num_refused)
        self.faults.extend(other.faults)


class _TooSlow(BaseException):
    """A reader took longer than it may."""


def fuzz(
    formats: list[Format],
    numbers: Iterable[int],
    seed: int,
    folder: Path,
    begin: Callable[[int], None] = lambda number: None,
) -> Report:
    """Run the mutants of those numbers, and call ``begin`` with each number before."""
    report = Report()
    for number in numbers:
        begin(number)
        each, data = mutant(formats, number, seed)
        what = _fault_of(each, data, folder / f"file{each.suffix}", report)
        if what is not None:
            report.faults.append(Fault(number=number, format_name=each.name, what=what))
    return report


def mutant(formats: list[Format], number: int, seed: int) -> tuple[Format, bytes]:
    """The mutant of that number: the formats come in turn."""
    each = formats[number % len(formats)]
    random = Random(f"{seed} {number}")
    good = random.choice(each.seeds)
    if random.random() < BYTES_SHARE or each.suffix not in MUTANTS:
        return each, mutated_bytes(random, good)
    return each, MUTANTS[each.suffix](random, good)


def _fault_of(each: Format, data: bytes, path: Path, report: Report) -> str | None:
    """What is wrong with how the file was taken; None where it was read or refused as due."""
    path.write_bytes(data)
    before, peak = _held_bytes(), _peak_bytes()
    try:
        with _in_time():
            each.read(path)
        report.num_read[each.name] += 1
    except InputError as error:
        line = one_line(str(error))
        if each.is_file and path.name not in line:
            return f"names no file: {line}"
        report.num_refused[each.name] += 1
    except _TooSlow:
        return f"takes longer than {LIMIT_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    grown = _peak_bytes() - before if _peak_bytes() > peak else 0
    return f"takes {grown:,} bytes" if grown > LIMIT_BYTES else None


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    try:
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S, AGAIN_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB


def _held_bytes() -> int:
    """What the process holds now; its peak where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _peak_bytes()
    return pages * resource.getpagesize()
