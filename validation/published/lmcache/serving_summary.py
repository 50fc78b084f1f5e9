"""Targets that need the serving engine, and whether they are met."""

from collections.abc import Iterator, Sequence

from hwprofiles.units import THOUSAND
from validation.published.lmcache.google_cloud import LARGE, SMALL, Change
from validation.published.lmcache.multi_round import Gain
from validation.published.lmcache.rows import rows
from validation.published.reproduction import SummaryLine
from validation.published.target import Target, between

TTFT = "ttft_ratio"
NO_GAIN_RATIO = 0.98
"""Ratio of TTFT above which there is no gain."""
SHORTEST_TOKENS = 1_000
"""Tokens of the one prefix for which the source sees no gain."""


def serving_summary(gains: Sequence[Gain], changes: Sequence[Change]) -> Iterator[SummaryLine]:
    """Yield one line for each target."""
    yield _in_range(
        "TTFT, multi-round, three models",
        "ttft_ratio",
        [ratio for gain in gains for ratio in gain.ttft_ratios],
    )
    yield _in_range(
        "Throughput at equal TTFT, multi-round",
        "throughput_ratio",
        [gain.throughput_ratio for gain in gains],
    )
    large = {
        change.prefix_tokens: change.ratios[TTFT] for change in changes if change.size == LARGE
    }
    small = {
        change.prefix_tokens: change.ratios[TTFT] for change in changes if change.size == SMALL
    }
    longer = {prefix: ratio for prefix, ratio in large.items() if prefix > SHORTEST_TOKENS}
    yield _signs(
        f"Google Cloud, {LARGE}: prefixes from 5K on",
        "TTFT falls",
        longer,
        all(each < NO_GAIN_RATIO for each in longer.values()),
    )
    short = {SHORTEST_TOKENS: large[SHORTEST_TOKENS]}
    yield _signs(
        f"Google Cloud, {LARGE}: prefixes of 1K",
        "no gain",
        short,
        large[SHORTEST_TOKENS] > NO_GAIN_RATIO,
    )
    none = all(each > NO_GAIN_RATIO for each in small.values())
    yield _signs(f"Google Cloud, {SMALL}", "no gain: GPU memory alone is best", small, none)


def _in_range(name: str, quantity: str, found: Sequence[float]) -> SummaryLine:
    low, high = (row.value for row in rows("multi_round") if row.quantity == quantity)
    words = f"{min(found):.1f} to {max(found):.1f} times"
    return between(low, high, "times").line(name, words, *found)


def _signs(name: str, words: str, found: dict[int, float], is_met: bool) -> SummaryLine:
    shown = ", ".join(f"{prefix // THOUSAND}K {ratio - 1:+.0%}" for prefix, ratio in found.items())
    return Target(words=words, low=1.0).line(name, shown, float(is_met))
