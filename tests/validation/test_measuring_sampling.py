"""Sampling and what becomes of samples: order, time, medians, curves, and what cannot be.

The clock is a fake.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from hwprofiles import InputError, Operation
from tests.validation.measuring_fakes import FakeComputer, point
from validation.measuring.measure import decode_loads
from validation.measuring.plausibility import TOLERANCE, fastest_reads, plausible
from validation.measuring.sampling import LEAST_ROUNDS, LEAST_SAMPLE_NS, Budget, Sampled, sample
from validation.measuring.smoothing import smoothed

LONG_NS = 10 * LEAST_SAMPLE_NS
AMPLE = Budget(total_s=1e6, most_point_s=1e6, most_rounds=7)


def _sampled(computer: FakeComputer, sizes: dict[str, list[int]], budget: Budget) -> Sampled:
    probes = [computer.probe(curve, x) for curve, xs in sizes.items() for x in xs]
    return sample(probes, {"only": computer}, budget, now_s=computer.now_s)


def _by_name(found: Sampled) -> dict[str, list[int]]:
    return {key.device: [one.probe.x for one in points] for key, points in found.points.items()}


def test_rounds_are_interleaved() -> None:
    """After two runs to warm up, every point once a round, in an order that changes."""
    computer = FakeComputer(lambda curve, x, before: LONG_NS * x)
    found = _sampled(computer, {"a": [1, 2, 3], "b": [1, 2, 3]}, AMPLE)
    assert found.num_rounds == AMPLE.most_rounds
    rounds = [computer.ran[first : first + 6] for first in range(12, len(computer.ran), 6)]
    assert len(rounds) == AMPLE.most_rounds and all(len(set(one)) == 6 for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_a_point_is_the_median_of_its_samples() -> None:
    """Neither the warm-up nor one slow sample changes it; the spread is the interquartile range by
    it.
    """
    durations = [9, 9, 1, 2, 3, 4, 5, 6, 100]
    computer = FakeComputer(lambda curve, x, before: LONG_NS * durations[before])
    ((only,),) = _sampled(computer, {"a": [1]}, AMPLE).points.values()
    assert only.ns == 4 * LONG_NS and only.best_ns == LONG_NS and only.num_samples == 7
    assert only.spread_fraction == pytest.approx((5.5 - 2.5) / 4)


def test_disturbed_samples_do_not_count() -> None:
    """Those in which another process had the core are left out, and counted; unless hardly any
    other is left.
    """
    computer = FakeComputer(lambda curve, x, before: LONG_NS * (10 if before % 2 else 1))
    computer.is_disturbed = lambda num_ran: num_ran % 2 == 0
    ((only,),) = _sampled(computer, {"a": [1]}, AMPLE).points.values()
    assert (only.ns, only.num_samples, only.num_disturbed) == (LONG_NS, 4, 3)
    computer = FakeComputer(lambda curve, x, before: LONG_NS)
    computer.is_disturbed = lambda num_ran: num_ran != 4
    ((only,),) = _sampled(computer, {"a": [1]}, AMPLE).points.values()
    assert (only.num_samples, only.num_disturbed) == (7, 0)


def test_short_operations_are_repeated_within_a_sample() -> None:
    """As often as makes a sample long enough to be timed."""
    computer = FakeComputer(lambda curve, x, before: LEAST_SAMPLE_NS / 10)
    _sampled(computer, {"a": [1]}, AMPLE)
    assert len(computer.ran) == 2 + 10 * AMPLE.most_rounds


def test_a_drift_meets_all_points_alike() -> None:
    """A computer that becomes four times slower on the way: ratios between points stay within a few
    percent.
    """
    computer = FakeComputer(
        lambda curve, x, before: LONG_NS * x * (1 + 3 * min(1.0, len(computer.ran) / 120))
    )
    budget = Budget(total_s=1e6, most_point_s=1e6, most_rounds=20)
    (points,) = _sampled(computer, {"a": [1, 2, 3, 4, 5]}, budget).points.values()
    ratios = np.array([one.ns / one.probe.x for one in points])
    assert ratios.max() / ratios.min() < 1.1


def test_the_time_is_kept() -> None:
    """When it is used up no round begins; all points have samples."""
    computer = FakeComputer(lambda curve, x, before: LONG_NS)
    total_s = 2 * 4 * LONG_NS * 1e-9 + 4 * (LEAST_ROUNDS + 1.5) * LONG_NS * 1e-9
    found = _sampled(
        computer, {"a": [1, 2, 3, 4]}, Budget(total_s=total_s, most_point_s=1, most_rounds=1000)
    )
    assert computer.now_s() <= total_s + LONG_NS * 1e-9
    counts = [one.num_samples for points in found.points.values() for one in points]
    assert min(counts) >= LEAST_ROUNDS and not found.left_out


def test_what_takes_too_long_is_left_out_and_said() -> None:
    """A curve ends before its first size that takes too long; larger ones are not even tried; other
    curves go on.
    """
    computer = FakeComputer(lambda curve, x, before: LONG_NS * x * (100 if curve == "slow" else 1))
    budget = Budget(total_s=1e6, most_point_s=250 * LONG_NS * 1e-9, most_rounds=5)
    found = _sampled(computer, {"slow": [1, 2, 4, 8], "quick": [1, 2, 4, 8]}, budget)
    assert _by_name(found) == {"slow": [1, 2], "quick": [1, 2, 4, 8]}
    assert {key.device: size for key, size in found.left_out.items()} == {"slow": 4}
    assert ("slow", 8) not in computer.ran


def test_too_little_time_costs_the_slowest_points_first() -> None:
    """What is left has enough rounds; the smallest size of a curve stays."""
    computer = FakeComputer(lambda curve, x, before: LONG_NS * x)
    warm_up = 2 * (1 + 10 + 1000) + 2 * 1
    total_s = (warm_up + 12 * LEAST_ROUNDS + 12) * LONG_NS * 1e-9
    found = _sampled(
        computer,
        {"a": [1, 10, 1000], "b": [1]},
        Budget(total_s=total_s, most_point_s=1e6, most_rounds=1000),
    )
    assert _by_name(found) == {"a": [1, 10], "b": [1]} and list(found.left_out.values()) == [1000]
    assert (
        min(one.num_samples for points in found.points.values() for one in points) >= LEAST_ROUNDS
    )


def test_a_late_warm_up_ends_curves_too() -> None:
    """It may take half of the time: curves whose larger sizes come later than that end before them,
    and all points have samples.
    """
    computer = FakeComputer(lambda curve, x, before: LONG_NS)
    found = _sampled(
        computer,
        {"a": [1, 2, 3, 4], "b": [1, 2, 3]},
        Budget(total_s=10 * LONG_NS * 1e-9, most_point_s=1, most_rounds=50),
    )
    assert _by_name(found) == {"a": [1], "b": [1]} and sorted(found.left_out.values()) == [2, 2]
    assert all(one.num_samples >= 3 for points in found.points.values() for one in points)


def test_progress_ends_at_the_end() -> None:
    """Shares rise to 1."""
    computer, shares = FakeComputer(lambda curve, x, before: LONG_NS), []
    sample(
        [computer.probe("a", 1)],
        {"only": computer},
        AMPLE,
        now_s=computer.now_s,
        on_progress=shares.append,
    )
    assert shares == sorted(shares) and shares[-1] == 1.0


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=12), st.floats(0, 0.5))
def test_smoothing_leaves_no_fall_within_the_noise(ns: list[float], spread: float) -> None:
    """Neighbours rise, stay, or fall by more than the noise; nothing leaves the range of the
    points; what rises is untouched.
    """
    found = np.array(smoothed(ns, [spread] * len(ns)))
    falls = 1 - found[1:] / found[:-1]
    assert ((falls <= 1e-9) | (falls > max(spread, 0.02) - 1e-9)).all()
    assert found.min() >= min(ns) * (1 - 1e-9) and found.max() <= max(ns) * (1 + 1e-9)
    assert smoothed(sorted(ns), [spread] * len(ns)) == pytest.approx(sorted(ns))


def test_smoothing_by_hand() -> None:
    """A fall of 10 % within a spread of 20 % is flattened to the geometric mean; one of 50 % stays."""
    assert smoothed([100, 90, 200], [0.2, 0.2, 0.2]) == pytest.approx(
        [90**0.5 * 10, 90**0.5 * 10, 200]
    )
    assert smoothed([100, 50, 200], [0.2, 0.2, 0.2]) == pytest.approx([100, 50, 200])


def test_lanes_are_loaded_by_plausible_times() -> None:
    """What a lane does beside others is an expert as it was measured: a time that cannot be is left
    out there, too, and a lane without any other ends the measurement.
    """
    size = 10**9
    reads = [
        point(Operation.MEMORY_READ, lane, 1, 1e6, weight_bytes=size) for lane in ("gpu", "cpu")
    ]
    cached = point(Operation.EXPERT, "gpu", 1, 0.1e6, weight_bytes=size)
    fair = point(Operation.EXPERT, "gpu", 2, 1e6, weight_bytes=size)
    on_cpu = point(Operation.EXPERT, "cpu", 1, 2e6, weight_bytes=size)
    copies = [point(Operation.COPY, lane, size, 5e6) for lane in ("h2d", "d2h")]
    curves = {each.probe.key: (each,) for each in (*reads, on_cpu, *copies)}
    curves[fair.probe.key] = (cached, fair)
    kept, _ = plausible(curves, fastest_reads(curves))
    benches: Any = dict.fromkeys(("gpu", "cpu", "h2d", "d2h"))
    assert {lane: load.lasts_ns for lane, load in decode_loads(benches, kept).items()} == {
        "gpu": 1e6,
        "cpu": 2e6,
        "h2d": 5e6,
        "d2h": 5e6,
    }
    del kept[fair.probe.key]
    with pytest.raises(InputError, match="every expert on the gpu took less time"):
        decode_loads(benches, kept)


def test_weights_read_from_a_cache_are_refused() -> None:
    """An expert of one token that would read faster than memory gives is no measurement; the reason
    has the figures.
    """
    read = point(Operation.MEMORY_READ, "gpu", 1, 1e6, weight_bytes=10**9)
    fair = point(Operation.EXPERT, "gpu", 1, 1e6, weight_bytes=10**9)
    cached = point(Operation.EXPERT, "gpu", 2, 0.5e6, weight_bytes=10**9)
    curves = {read.probe.key: (read,), fair.probe.key: (fair, cached)}
    peaks = fastest_reads(curves)
    assert peaks == {"gpu": pytest.approx(TOLERANCE * 1e12 / 0.9)}
    kept, rejected = plausible(curves, peaks)
    assert kept == {read.probe.key: (read,), fair.probe.key: (fair,)}
    assert [one.point for one in rejected] == [cached]
    assert (
        "gpu expert bf16 at 2 took 500 us" in rejected[0].reason
        and "2.00 TB/s" in rejected[0].reason
    )
    assert plausible(curves, {})[1] == []
    assert fastest_reads({read.probe.key: (replace(read, num_samples=4),)}) == {}, (
        "four reads do not say what memory gives"
    )
