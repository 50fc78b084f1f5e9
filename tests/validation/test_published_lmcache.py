"""LMCache's and Mooncake's figures: what closed forms reach, what they do not, and what is skipped."""

import pytest

from tests.shared_data import shared_data
from tests.validation.reproduced import papers_once  # noqa: F401  # a fixture
from validation.published import Reproduction, SummaryLine, reproduce
from validation.published.lmcache.reuse import crossovers
from validation.published.lmcache.tables import reproduce_without_engine


@pytest.fixture(scope="module")
def lmcache() -> Reproduction:
    """What needs neither a trace nor an engine."""
    return reproduce_without_engine(0, None)


def _lines(reproduction: Reproduction, start: str) -> list[SummaryLine]:
    found = [line for line in reproduction.summary if line.name.startswith(start)]
    assert found
    return found


def test_pages_and_chunks_are_within_5_percent(lmcache: Reproduction) -> None:
    """88 Gbit/s page by page, 400 chunk by chunk."""
    assert all(abs(cell.error_fraction) <= 0.05 for cell in lmcache.table("transfer").cells)
    assert all(line.is_met for line in _lines(lmcache, "CPU to GPU"))


def test_the_least_rates_are_mooncakes_as_rounded(lmcache: Reproduction) -> None:
    """6 and 19 GB/s; the model's own layers ask for a little less."""
    assert [round(cell.simulated) for cell in lmcache.table("reuse").cells] == [6, 19]
    assert all(line.is_met for line in _lines(lmcache, "Least rate"))
    for cell in lmcache.table("reuse").cells:
        assert 0.9 < cell.comparisons["own layers"] / cell.simulated < 1


def test_the_papers_order_appears_with_70_billion_weights_in_fp8(lmcache: Reproduction) -> None:
    """At 64 and 128 Gbit/s loading always wins, at 32 only for long prompts; not with 8 billion
    weights, whose KV is large for its work. One set-up is published, so one is asked for.
    """
    (line,) = _lines(lmcache, "B200: when loading wins")
    assert line.is_met
    assert line.found == "llama-3.3-70b in fp8, qwen2.5-72b in fp8"


def test_both_statements_on_a_b200_cannot_hold(lmcache: Reproduction) -> None:
    """From 256K tokens at 32 Gbit/s and always at 64 need attention to take no longer than the
    weights; it takes more than twice as long in every set-up.
    """
    assert all(each.attention_ratio > 2 for each in crossovers())
    (line,) = _lines(lmcache, "B200, 32 Gbit/s: where loading starts to win")
    assert line.is_met is False


def test_a_faster_link_never_moves_a_crossover_up(lmcache: Reproduction) -> None:
    """For every set-up: 32 Gbit/s no earlier than 64, 64 no earlier than 128."""
    for cell in lmcache.table("crossover").cells:
        tokens = [cell.simulated, *cell.comparisons.values()]
        assert tokens == sorted(tokens, reverse=True)


def test_hit_rates_are_skipped_without_a_trace(lmcache: Reproduction) -> None:
    """One line says what is missing."""
    (line,) = _lines(lmcache, "Token hit rates")
    assert line.is_met is None and "a file of requests" in line.found


def test_hit_rates_equal_lmcaches_simulator() -> None:
    """On the trace they agree to the digits of the published rows."""
    reproduction = reproduce_without_engine(0, shared_data("requests/mooncake-conversation.jsonl"))
    assert all(line.is_met for line in _lines(reproduction, "Token hit rate"))
    for cell in reproduction.table("hit_rates").cells:
        assert cell.simulated == pytest.approx(cell.published, abs=6e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("papers_once")
def test_what_the_serving_engine_reaches() -> None:
    """One set of parameters puts three models inside the paper's ranges, and every sign of Google
    Cloud's table is right.
    """
    reproduction = reproduce("lmcache")
    for start in ("TTFT, multi-round", "Throughput at equal TTFT", "Google Cloud"):
        assert all(line.is_met for line in _lines(reproduction, start)), start
    ratios = {
        cell.system: cell.simulated
        for cell in reproduction.table("multi_round").cells
        if cell.quantity == "itl_reduction_percent"
    }
    assert ratios["least"] > 0
    for cell in reproduction.table("google_cloud").cells:
        assert (cell.simulated - 1) * (cell.published - 1) > 0, (cell.input_tokens, cell.quantity)
