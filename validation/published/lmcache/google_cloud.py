"""Google Cloud's table: prompts with shared prefixes, whose KV the GPUs' memory holds or does
not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hwprofiles.units import GB, TIB
from sim.serving import OpenLoop, ServingMetrics
from sim.serving.link import TransferRate
from sim.serving.tier import TierSpec
from sim.workload.requests.request import Request, Span
from validation.published.lmcache.rows import rows
from validation.published.lmcache.serving import cluster_of, metrics_of
from validation.published.published_row import cell_of
from validation.published.reproduction import Cell, Table

MODEL = "llama-3.3-70b"
NUM_GPUS = 8
PROMPTS_PER_PREFIX = 20
QUESTION_TOKENS = 256
ANSWER_TOKENS = 512
PREFIX_TOKENS = (1_000, 5_000, 10_000, 50_000, 100_000)
LARGE = "4.0 to 4.3 M tokens"
SMALL = "1.1 to 1.3 M tokens"
CACHE_TOKENS: Mapping[str, int] = {LARGE: 4_150_000, SMALL: 1_200_000}
RAM = TierSpec(name="cpu", capacity_bytes=TIB)
SSD_RATE = TransferRate(bytes_per_s=10 * GB, source="assumed: some NVMe disks together")
SSD = TierSpec(name="disk", capacity_bytes=5 * TIB, read=SSD_RATE, write=SSD_RATE)
TIERS: Mapping[int, tuple[TierSpec, ...]] = {
    1_000: (RAM,),
    5_000: (RAM,),
    10_000: (RAM,),
    50_000: (RAM, SSD),
    100_000: (RAM, SSD),
}
"""The best set-up of each row, as the table names it; it is RAM if the table names none."""

ASSUMPTIONS = (
    "Not known here: lengths of questions and answers, the rate, what the cache's size counts. Taken: "
    f"{QUESTION_TOKENS} and {ANSWER_TOKENS} tokens, all prompts at once in random order, as many prefixes, each of {PROMPTS_PER_PREFIX} "
    "prompts, as make the size with all tokens of prompts counted (with answers counted too, prefixes of 5K would fit GPU memory "
    "and gain nothing); a disk of 10 GB/s each way. What is asked of the simulator is the signs."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change through tiers, by quantity: the figure with tiers over that of the GPUs alone."""

    size: str
    prefix_tokens: int
    ratios: Mapping[str, float]


def changes(seed: int) -> tuple[Change, ...]:
    """Return the changes of both sizes of cache, for every length of prefix."""
    return tuple(_change(size, prefix, seed) for size in CACHE_TOKENS for prefix in PREFIX_TOKENS)


def google_cloud_table(found: tuple[Change, ...]) -> Table:
    """Return the published changes beside the simulated ones.

    Rows without published figures are judged by their signs alone.
    """
    by_place = {(change.size, change.prefix_tokens): change for change in found}
    return Table(
        name="google_cloud",
        title="Google Cloud's tiered cache: with tiers over GPU memory alone, Llama-3.3-70B on 8x H100",
        assumptions=ASSUMPTIONS,
        cells=tuple(_cell(number, by_place) for number in range(len(rows("google_cloud")))),
    )


def _cell(number: int, by_place: Mapping[tuple[str, int], Change]) -> Cell:
    row = rows("google_cloud")[number]
    assert row.input_tokens is not None
    large, small = (
        by_place[size, row.input_tokens].ratios[row.quantity] for size in (LARGE, SMALL)
    )
    return cell_of(
        row,
        large,
        note=f"printed as {row.value - 1:+.0%}",
        comparisons={f"at {SMALL}": small},
    )


def _change(size: str, prefix_tokens: int, seed: int) -> Change:
    before, after = (
        _figures(
            metrics_of(
                cluster_of(MODEL, NUM_GPUS, tiers),
                OpenLoop(requests=_requests(CACHE_TOKENS[size], prefix_tokens, seed)),
            )
        )
        for tiers in ((), TIERS[prefix_tokens])
    )
    return Change(
        size=size,
        prefix_tokens=prefix_tokens,
        ratios={name: after[name] / before[name] for name in before},
    )


def _figures(metrics: ServingMetrics) -> dict[str, float]:
    return {
        "ttft_ratio": metrics.ttft_s.mean,
        "input_throughput_ratio": metrics.prompt_tokens_per_s,
        "end_to_end_ratio": metrics.end_to_end_s.mean,
    }


def _requests(cache_tokens: int, prefix_tokens: int, seed: int) -> Iterator[Request]:
    """Yield all prompts of all prefixes at time 0, shuffled.

    No later prompt contains an answer.
    """
    per_prefix = prefix_tokens + PROMPTS_PER_PREFIX * QUESTION_TOKENS
    # The table gives the size of the cache, not the number of prefixes.
    num_prefixes = round(cache_tokens / per_prefix)
    order = np.random.default_rng(seed).permutation(num_prefixes * PROMPTS_PER_PREFIX).tolist()
    for number, prompt in enumerate(order):
        shared = Span(content=prompt // PROMPTS_PER_PREFIX, num_tokens=prefix_tokens)
        # Questions are numbered behind the prefixes, so that no two contents are equal.
        question = Span(content=num_prefixes + prompt, num_tokens=QUESTION_TOKENS)
        yield Request(
            number=number, arrival_ns=0, prompt=(shared, question), output_tokens=ANSWER_TOKENS
        )
