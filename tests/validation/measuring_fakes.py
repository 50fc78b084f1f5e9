"""Measuring without a computer: benches whose durations are written down, and a clock that they
move.
"""

from collections.abc import Callable, Mapping, Sequence

from hwprofiles import Operation
from validation.measuring.interference_probes import Factor
from validation.measuring.lane_probes import Gaps, LaneGaps
from validation.measuring.measure import Findings
from validation.measuring.probe import CurveKey, Probe
from validation.measuring.sampling import MeasuredPoint
from validation.measuring.surroundings import Surroundings
from validation.measuring.timing import MeanTime
from validation.measuring.workplace import Emulation

NsOf = Callable[[str, int, int], float]
"""Duration of one run by the name of its curve, its size, and how often it has run before."""

LANES = ("gpu", "cpu", "h2d", "d2h")


class FakeComputer:
    """A bench and its clock. ``ran`` lists what was timed: curve and size, once for each run."""

    def __init__(self, ns_of: NsOf) -> None:
        self.ran: list[tuple[str, int]] = []
        self.now_ns = 0.0
        self._ns_of = ns_of
        self.is_disturbed: Callable[[int], bool] = lambda num_ran: False

    def now_s(self) -> float:
        """The clock."""
        return self.now_ns * 1e-9

    def probe(self, curve: str, x: int) -> Probe:
        """One that costs what was written down."""
        key = CurveKey(operation=Operation.EXPERT, device=curve, dtype="bf16")
        return Probe(key=key, x=x, bench="only", make=lambda: lambda: (curve, x))

    def time(self, works: Sequence[Callable[[], tuple[str, int]]]) -> MeanTime:
        """The clock goes on by what the works take."""
        total_ns = 0.0
        for work in works:
            curve, x = work()
            total_ns += self._ns_of(curve, x, self.ran.count((curve, x)))
            self.ran.append((curve, x))
        self.now_ns += total_ns
        return MeanTime(ns=total_ns / len(works), is_disturbed=self.is_disturbed(len(self.ran)))


def point(
    operation: Operation,
    device: str,
    x: int,
    ns: float,
    *,
    shape: Mapping[str, int] | None = None,
    dtype: str = "bf16",
    **sizes: float,
) -> MeasuredPoint:
    """A measured point; ``weight_bytes`` and ``flops`` as in a probe."""
    key = CurveKey(
        operation=operation, device=device, dtype=dtype, shape=tuple((shape or {}).items())
    )
    probe = Probe(key=key, x=x, bench=device, make=lambda: lambda: None, **sizes)  # type: ignore[arg-type]
    return MeasuredPoint(probe=probe, ns=ns, spread_fraction=0.05, best_ns=0.9 * ns, num_samples=9)


def findings(**changes: object) -> Findings:
    """A complete set, of an emulated accelerator with experts of 64 × 128."""
    shape, num_bytes = {"hidden": 64, "intermediate": 128}, 2 * 3 * 64 * 128
    points = [
        point(
            Operation.EXPERT,
            device,
            x,
            1000.0 * x,
            shape=shape,
            weight_bytes=num_bytes,
            flops=num_bytes * x,
        )
        for device in ("gpu", "cpu")
        for x in (1, 2, 8)
    ]
    points += [
        point(Operation.COPY, way, x, 500 + x / 2, dtype="")
        for way in ("h2d", "d2h")
        for x in (4096, 2**20)
    ]
    points += [
        point(
            Operation.MEMORY_READ,
            "cpu",
            x,
            9e4 / x,
            shape={"bytes": 2**20},
            dtype="",
            weight_bytes=2**20,
        )
        for x in (1, 2)
    ]
    curves: dict[CurveKey, tuple[MeasuredPoint, ...]] = {}
    for one in points:
        curves[one.probe.key] = (*curves.get(one.probe.key, ()), one)
    gaps = Gaps(ns=40_000.0, spread_fraction=0.1, num_samples=100)
    whole: dict[str, object] = {
        "is_cuda": False,
        "around": Surroundings(
            cpu="Some CPU",
            sockets=1,
            cores=(0, 1),
            memory_bytes=2**34,
            cache_bytes=2**25,
            software="torch 2.13",
        ),
        "emulation": Emulation(),
        "cpu_cores": (1,),
        "cold_bytes": 2**28,
        "dtypes": ("bf16",),
        "models": ("small",),
        "curves": curves,
        "num_rounds": 9,
        "gaps": LaneGaps(launch=gaps, hand_over=gaps, call=gaps, decision=gaps),
        "factors": [
            Factor(busy=busy, slows=slows, rate_fraction=0.9, spread_fraction=0.1, num_samples=9)
            for busy in LANES
            for slows in LANES
            if busy != slows
        ],
        "rejected": (),
        "left_out": (),
    }
    return Findings(**(whole | changes))  # type: ignore[arg-type]
