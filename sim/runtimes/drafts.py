"""Drafts of tokens that one step checks together: how many are kept, and what they read.

A step computes K drafts and the token after the last that is kept. A layer reads each expert that
any of these K + 1 tokens chooses once, whether its token is kept or not.
"""

from collections.abc import Sequence

from hwprofiles import InputError

MAX_DRAFTS = 64


def committed_tokens(num_drafts: int, acceptance_fraction: float) -> float:
    """Return how many tokens a step of ``num_drafts`` drafts keeps on average.

    Each draft is kept with the probability ``acceptance_fraction`` if all before it are (Leviathan
    and others, arXiv 2211.17192, equation 1). Raises InputError outside of 0 to 64 drafts and a
    probability of 0 to 1.
    """
    if not 0 <= num_drafts <= MAX_DRAFTS:
        raise InputError(f"0 <= drafts <= {MAX_DRAFTS} must hold, got {num_drafts}")
    if not 0 <= acceptance_fraction <= 1:
        raise InputError(f"0 <= acceptance <= 1 must hold, got {acceptance_fraction:g}")
    return sum(acceptance_fraction**kept for kept in range(num_drafts + 1))


def distinct_experts(num_experts: int, top_k: int, num_tokens: int) -> float:
    """Return how many distinct experts ``num_tokens`` tokens choose, evenly and independently.

    Consecutive tokens of DeepSeek-V2-Lite's chats choose 2 to 5 % fewer.
    """
    return num_experts * (1 - (1 - top_k / num_experts) ** num_tokens)


def reads_factor(layers: Sequence[tuple[int, int]], num_drafts: int, acceptance: float) -> float:
    """Return the experts read for each token kept, over those of a step without drafts.

    ``layers`` are (experts, top-k) of each layer.
    """
    plain = sum(top_k for _, top_k in layers)
    # One token more than drafts: the step also computes the token that follows the last one kept.
    drafted = sum(distinct_experts(experts, top_k, num_drafts + 1) for experts, top_k in layers)
    return drafted / plain / committed_tokens(num_drafts, acceptance)
