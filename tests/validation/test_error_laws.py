"""Laws of comparing what was predicted with what was measured, and of reading a program's log."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles.units import MIB
from validation.comparison.compare import summary, summary_of
from validation.measuring.smoothing import smoothed
from validation.runtimes.llama_cpp.load_log import read_load_log

ERRORS = st.lists(st.floats(-0.99, 50), max_size=40)
TIMES = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=40)


@given(ERRORS)
@settings(max_examples=60)
def test_errors_are_counted_by_size(errors: list[float]) -> None:
    """Signs and order are no matter; half are no larger than the median, nine in ten than the other."""
    found = summary_of(np.array(errors))
    sizes = np.abs(errors)
    assert found == summary_of(-np.array(errors)[::-1])
    assert found.num_compared == len(errors)
    if not errors:
        return
    assert 0 <= found.median_fraction <= found.p90_fraction <= sizes.max() + 1e-12
    assert (sizes <= found.median_fraction + 1e-12).mean() >= 0.5
    assert (sizes <= found.p90_fraction + 1e-12).sum() >= 0.9 * (len(errors) - 1)


@given(TIMES, st.integers(2, 1000))
@settings(max_examples=60)
def test_errors_of_durations_have_no_unit(pairs: list[tuple[int, int]], factor: int) -> None:
    """Both in a unit that is so many times smaller: the same; what measured nothing is left out."""
    predicted, measured = (np.array(each, np.int64) for each in zip(*pairs, strict=True))
    found = summary(predicted, measured)
    scaled = summary(predicted * factor, measured * factor)
    assert np.isclose(found.median_fraction, scaled.median_fraction)
    assert np.isclose(found.p90_fraction, scaled.p90_fraction)
    assert found.num_compared == sum(each > 0 for _, each in pairs)
    exact = summary(measured, measured)
    assert (exact.median_fraction, exact.p90_fraction) == (0, 0)


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=20), st.floats(0, 1), st.floats(0.01, 1000))
@settings(max_examples=60)
def test_smoothing_has_no_unit_and_is_done_once(
    ns: list[float], spread: float, factor: float
) -> None:
    """Times in another unit are smoothed alike; what rises already stays as it is."""
    spreads = [spread] * len(ns)
    found = smoothed(ns, spreads)
    scaled = smoothed([each * factor for each in ns], spreads)
    assert np.allclose(np.array(found) * factor, scaled, rtol=1e-9)
    assert np.allclose(smoothed(sorted(ns), spreads), sorted(ns), rtol=1e-12)
    assert len(found) == len(ns)
    assert min(ns) * (1 - 1e-9) <= min(found) and max(found) <= max(ns) * (1 + 1e-9)


BUFFERS = st.sampled_from(("CPU", "CPU_Mapped", "CPU_REPACK", "CUDA0", "CUDA1", "CUDA_Host"))
KINDS = st.sampled_from(("model", "KV", "compute"))
SIZES = st.floats(0, 1e6).map("{:.2f}".format)


@given(st.lists(st.tuples(BUFFERS, KINDS, SIZES), max_size=20), st.none() | st.integers(1, 9999))
@settings(max_examples=60)
def test_a_load_log_says_what_it_said_last(
    lines: list[tuple[str, str, str]], nodes: int | None
) -> None:
    """Of each buffer the last size counts; host buffers are one device, whatever they are called."""
    text = "\n".join(
        f"load_tensors: {name:>12} {kind} buffer size = {size:>10} MiB"
        for name, kind, size in lines
    )
    if nodes is not None:
        text += f"\nllama_context: graph nodes  = {nodes}\n"
    log = read_load_log(text)
    last = {(name, kind): float(size) * MIB for name, kind, size in lines}
    for (name, kind), size in last.items():
        assert {"model": log.weights, "KV": log.kv, "compute": log.compute}[kind][name] == size
    assert len(log.weights) + len(log.kv) + len(log.compute) == len(last)
    assert log.num_nodes == nodes
    host, first, second = log.weight_bytes(("CUDA0", "CUDA1"))
    assert np.isclose(host + first + second, sum(log.weights.values()))


@given(st.text("CPU model KV buffer size = 0123.MiB\n", max_size=200))
@settings(max_examples=60)
def test_any_log_is_read(text: str) -> None:
    """Programs may print anything; sizes are numbers."""
    log = read_load_log(f"CPU model buffer size = {text}\n{text} MiB")
    assert all(size >= 0 for size in log.weights.values())


@given(st.from_regex(r"[0-9.]{1,8}", fullmatch=True))
@settings(max_examples=60)
def test_a_size_that_is_none_is_passed_over(text: str) -> None:
    """Digits with more than one point are no size."""
    log = read_load_log(f"x: CPU model buffer size = {text} MiB")
    if text.count(".") <= 1 and text[0].isdigit() and text[-1].isdigit():
        assert log.weights == {"CPU": float(text) * MIB}
    else:
        assert not log.weights
