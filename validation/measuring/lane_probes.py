"""Measure what lanes cost beside work: launches, hand-overs between lanes, and decisions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hwprofiles.units import NS_PER_S, NS_PER_US
from sim.engine.task import NONE, TaskKind
from validation.backend.cores import Worker
from validation.backend.lane import Lane
from validation.backend.pacing import steady_threads
from validation.backend.ticket import Pace, TaskLabel, Ticket
from validation.measuring.bench import Bench

SPACING_NS = 300 * NS_PER_US
"""Duration of a task before a hand-over.

Within this time the thread that waits for the task goes to sleep, as behind real work.
"""

KEPT_FRACTION = 0.95
"""Share of the gaps that counts, the shortest first.

Now and then something else has the processor.
"""

NUM_LAUNCHES = 200
NUM_READ_BACKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Durations of one kind of gap: median in ns, interquartile range over it, and their number."""

    ns: float
    spread_fraction: float
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneGaps:
    """Four kinds of gaps.

    ``launch``: one of many small operations. ``hand_over``: from lane to lane. ``call``: to a lane
    and back. ``decision``: from a lane to the deciding thread and to a lane.
    """

    launch: Gaps
    hand_over: Gaps
    call: Gaps
    decision: Gaps


def measure_gaps(
    accelerator: Bench, cores: tuple[Sequence[int], Sequence[int]], num_samples: int
) -> LaneGaps:
    """Measure all four kinds of gaps, on lanes as the backend has them, each held to its cores."""
    with steady_threads():
        lanes = _lane("one", cores[0]), _lane("other", cores[1])
        try:
            hand_over = _hand_overs(lanes, num_samples)
            call = _calls(lanes[0], num_samples)
            is_core = accelerator.device.type == "cpu"
            # On a GPU the gate's answer is read back before anything can be decided.
            decision = (
                _decisions(lanes, num_samples) if is_core else _read_backs(accelerator, num_samples)
            )
        finally:
            for lane in lanes:
                lane.close()
    return LaneGaps(
        launch=gaps(_launches(accelerator, num_samples)),
        hand_over=gaps(hand_over),
        call=gaps(call),
        decision=gaps(decision),
    )


def _lane(name: str, cores: Sequence[int]) -> Lane:
    return Lane(name, Pace.OWN, Worker(cores=tuple(cores)))


def gaps(found_ns: Sequence[float]) -> Gaps:
    """Summarise gaps in ns without the slowest twentieth."""
    kept = np.sort(np.asarray(found_ns, np.float64))[: max(1, round(len(found_ns) * KEPT_FRACTION))]
    low, middle, high = np.percentile(kept, [25, 50, 75]).tolist()
    return Gaps(
        ns=middle, spread_fraction=(high - low) / middle if middle else 0.0, num_samples=len(kept)
    )


def _hand_overs(lanes: tuple[Lane, Lane], count: int) -> list[float]:
    """Return ns from the end of a task to the start of one on the other lane that waited for it."""
    tickets = [_ticket() for _ in range(count + 1)]
    for before, after in pairwise(tickets):
        after.waits = (before,)
    for number, ticket in enumerate(tickets):
        lanes[number % 2].submit(ticket)
    tickets[-1].wait()
    return [float(after.start_ns - before.end_ns) for before, after in pairwise(tickets)]


def _calls(lane: Lane, count: int) -> list[float]:
    """Return ns from the submission of an empty task to a sleeping lane until its end is known."""
    found = []
    for _ in range(count):
        # The lane's thread has to have gone to sleep, as it has behind real work.
        time.sleep(SPACING_NS / NS_PER_S)
        ticket = _ticket(lasts_ns=0)
        lane.submit(ticket)
        ticket.wait()
        found.append(float(time.perf_counter_ns() - ticket.submitted_ns))
    return found


def _decisions(lanes: tuple[Lane, Lane], count: int) -> list[float]:
    """Return ns from the end of a task to the start of the next, which this thread submits.

    This thread waits for the first task before it submits the next.
    """
    found = []
    for number in range(count):
        gate = _ticket()
        after = _ticket(lasts_ns=0)
        lanes[0].submit(gate)
        gate.wait()
        # What follows a gate runs on the gate's own lane as often as on the other.
        lanes[number % 2].submit(after)
        after.wait()
        found.append(float(after.start_ns - gate.end_ns))
    return found


def _read_backs(bench: Bench, count: int) -> list[float]:
    """Return ns of launching on a GPU and reading a number back, as behind a gate."""
    x = torch.zeros(1, device=bench.device)
    works: list[Callable[[], object]] = [lambda: x.add_(1.0).item()] * NUM_READ_BACKS
    # Each sample is a mean over many works, so fewer samples suffice.
    return [bench.time(works).ns for _ in range(max(5, count // 5))]


def _launches(bench: Bench, count: int) -> list[float]:
    """Return ns of one of many small operations, each with next to nothing to do."""
    x = torch.zeros(1, device=bench.device)
    works: list[Callable[[], object]] = [lambda: x.add_(1.0)] * NUM_LAUNCHES
    # The first launch loads the kernel.
    bench.run(lambda: x.add_(1.0))
    return [bench.time(works).ns for _ in range(max(5, count // 5))]


def _ticket(lasts_ns: int = SPACING_NS) -> Ticket:
    def work() -> int:
        """Last that long, and copy nothing."""
        if lasts_ns:
            time.sleep(lasts_ns / NS_PER_S)
        return 0

    return Ticket(0, TaskLabel(TaskKind.OVERHEAD, layer=NONE), 0, 0, work)
