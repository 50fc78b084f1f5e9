"""The documented readings of what ran in Fiddler's comparisons, crossed."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import product
from math import log2

# Mixtral-8x7B: three matrices of 4,096 × 14,336 weights, 2 bytes each.
EXPERT_BYTES = 352_321_536
PINNED_COPY_S = 0.040
E1_LINK_BYTES_PER_S = 12.1e9
PINNED_FRACTION = EXPERT_BYTES / PINNED_COPY_S / E1_LINK_BYTES_PER_S
"""Share of E1's link rate that pinned copies reach at 40 ms an expert.

The rate is the one that DeepSpeed-MII reaches on E1.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to read what a system ran: its settings, and the share of the link's rate of its
    copies.

    ``divergence`` is the share of beams' tokens that are not shared.
    """

    label: str
    system: str
    settings: Mapping[str, str]
    rate_fraction: float = 1.0
    divergence: float = 1.0


SCHEDULES = {"serial": "Fiddler", "thread": "Fiddler v1"}
"""Systems by schedule.

The released code runs experts one after another; version 1 ran a prompt's CPU experts in a thread.
"""

COPIES = {
    "pinned at 40 ms": ({"is_pinned": "true"}, PINNED_FRACTION),
    "pinned at the link's rate": ({"is_pinned": "true"}, 1.0),
    "pageable": ({"is_pinned": "false"}, 1.0),
}
"""Settings and shares of the link's rate, by kind of copy.

40 ms an expert is what the authors' micro-benchmark and branch cppExpert state of a pinned copy. 70
ms is that of a pageable copy on E1; the other machine's follows from its link. DeepSpeed-MII
reaches the link's rate.
"""

CONSTANTS = {
    "measured": {"believed_cost": "measured"},
    "7/40/0.6 ms": {"believed_cost": "cpp"},
    "7/70 ms": {"believed_cost": "code"},
}
"""Constants that decide where an expert runs.

The constants are those measured at the start (algorithm 1, branch cppExpert), that branch's own in
a comment, or branch main's.
"""

DIVERGENCES = {"beams apart": 1.0, "half of beams apart": 0.5, "beams alike": 0.0}
"""Shares of a hypothesis's tokens that are its own.

In the released code, hypotheses part at the first output token and go on greedily, so all tokens
are their own.
"""


def fiddler_readings(schedules: Mapping[str, str] = SCHEDULES) -> tuple[Reading, ...]:
    """Return all readings, crossed.

    The first is algorithm 1 as branch cppExpert has it: one after another, pinned at 40 ms,
    measured constants.
    """
    crossed = product(schedules.items(), COPIES.items(), CONSTANTS.items())
    return tuple(
        Reading(
            label=f"{schedule}, {copies}, {constants}",
            system=system,
            settings=pinning | belief,
            rate_fraction=fraction,
        )
        for (schedule, system), (copies, (pinning, fraction)), (constants, belief) in crossed
    )


LLAMA_CPP = (
    Reading(label="llama.cpp mapped", system="llama.cpp", settings={"is_pinned": "false"}),
    Reading(label="llama.cpp page-locked", system="llama.cpp", settings={"is_pinned": "true"}),
)
"""Readings of llama.cpp.

By default, b2956 maps the model's file and does not lock it (pull request 6206 of March 2024). With
--no-mmap or GGML_CUDA_REGISTER_HOST, b2956 locks the file.
"""
BEAM_LAGS = (1, 4, 16, 64)
"""Assumed tokens back at which beams part: from the last token alone to the whole answer.

The distance is not published.
"""
MEASURED_BEAMS = "llama.cpp's beams part as measured"
"""Label of the reading whose beams part as those of a small language model (``measured_lags``)."""

DEEPSPEED = (Reading(label="DeepSpeed-MII", system="DeepSpeed-MII", settings={}),)
OFFLOADING = (Reading(label="Mixtral-Offloading", system="Mixtral-Offloading", settings={}),)


def llama_beams(lag_tokens: int) -> Reading:
    """Return a reading of llama.cpp with mapped weights, whose beams part that many tokens back."""
    return Reading(
        label=f"llama.cpp's beams part {lag_tokens} tokens back",
        system="llama.cpp",
        settings={"beam_lag_tokens": str(lag_tokens), "is_pinned": "false"},
    )


def measured_lags(beams: int) -> tuple[int, ...]:
    """Return how many tokens back that many beams part; each value holds for equally many steps.

    ``beam_lags.csv`` has the widths that were measured. Between two widths, values are interpolated
    by the logarithm of the width.
    """
    path = resources.files("validation.published.fiddler") / "beam_lags.csv"
    found: dict[int, list[int]] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        found.setdefault(int(row["beams"]), []).append(int(row["tokens"]))
    few, many = found
    share = log2(beams / few) / log2(many / few)
    pairs = zip(found[few], found[many], strict=True)
    return tuple(round(one + share * (other - one)) for one, other in pairs)
