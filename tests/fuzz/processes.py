"""Mutants in several processes, each watched: one that hangs or is killed costs one mutant."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz.format import Format
from tests.fuzz.formats import formats
from tests.fuzz.harness import Fault, Report, fuzz

LIMIT_S = 120.0
"""Without a sign of life, by the clock; a reader has 2 s of the processor's time before."""
BATCH = 500
"""Mutants between two reports."""

Progress = Callable[[Report], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """So many mutants of the formats whose name has ``only`` in it, from a seed."""

    num_inputs: int
    seed: int
    only: str = ""

    def formats(self) -> list[Format]:
        """Those formats. Every process makes its own: readers cannot be sent."""
        return [each for each in formats() if self.only in each.name]


@dataclass(slots=True)
class _Worker:
    """A process and the mutants that it still has to run: every ``step``-th from ``first``."""

    process: BaseProcess
    pipe: Connection
    current: Any
    first: int
    last_number: int = -1
    since_s: float = 0.0


def run(campaign: Campaign, num_processes: int, progress: Progress) -> Report:
    """Run the campaign; ``progress`` hears the report so far every now and then."""
    report, names = Report(), [each.name for each in campaign.formats()]
    workers = [_started(campaign, first, num_processes) for first in range(num_processes)]
    while workers:
        for pipe in wait([each.pipe for each in workers], timeout=1.0):
            worker = next(each for each in workers if each.pipe is pipe)
            if not _heard(worker, report):
                workers.remove(worker)
                workers.extend(_after(worker, campaign, num_processes, report, names))
        for worker in workers:
            _check_life(worker)
        progress(report)
    return report


def _started(campaign: Campaign, first: int, step: int) -> _Worker:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    current = multiprocessing.Value("q", -1, lock=False)
    process = multiprocessing.Process(
        target=_work, args=(campaign, first, step, theirs, current), daemon=True
    )
    process.start()
    theirs.close()
    return _Worker(
        process=process, pipe=ours, current=current, first=first, since_s=time.monotonic()
    )


def _work(campaign: Campaign, first: int, step: int, pipe: Connection, current: Any) -> None:
    """Run every ``step``-th mutant from ``first`` on, and send a report of each batch."""

    def begin(number: int) -> None:
        current.value = number

    found = campaign.formats()
    warm_up(found)
    numbers = range(first, campaign.num_inputs, step)
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            pipe.send((batch.stop, fuzz(found, batch, campaign.seed, Path(folder), begin)))
    pipe.send(None)


def warm_up(found: list[Format]) -> None:
    """Read a good file of each format: what a first one imports and compiles is no mutant's."""
    with tempfile.TemporaryDirectory() as folder:
        for each in found:
            path = Path(folder) / f"file{each.suffix}"
            path.write_bytes(each.seeds[0])
            each.read(path)


def _heard(worker: _Worker, report: Report) -> bool:
    """Take what a worker sent; False where it has ended, at its end or before."""
    try:
        message = worker.pipe.recv()
    except EOFError:
        return False
    if message is None:
        worker.first = -1
        return False
    worker.first, found = message
    report.add(found)
    return True


def _check_life(worker: _Worker) -> None:
    """Kill a worker that has been at one mutant for too long; its pipe then tells."""
    now_s, number = time.monotonic(), worker.current.value
    if number != worker.last_number:
        worker.last_number = number
        worker.since_s = now_s
    elif number >= 0 and now_s - worker.since_s > LIMIT_S:
        worker.process.kill()


def _after(
    worker: _Worker, campaign: Campaign, step: int, report: Report, names: list[str]
) -> list[_Worker]:
    """Note the mutant at which a worker broke off, and start another behind it.

    What the worker ran since its last report runs once more, up to the mutant at fault.
    """
    worker.process.join()
    if worker.first < 0:
        return []
    number = worker.current.value
    if number < 0:
        raise RuntimeError(f"a process ended ({worker.process.exitcode}) before its first mutant")
    what = f"the process hung or died (exit {worker.process.exitcode})"
    name = names[number % len(names)]
    report.faults.append(Fault(number=number, format_name=name, what=what))
    with tempfile.TemporaryDirectory() as folder:
        again = range(worker.first, number, step)
        report.add(fuzz(campaign.formats(), again, campaign.seed, Path(folder)))
    return [_started(campaign, number + step, step)] if number + step < campaign.num_inputs else []
