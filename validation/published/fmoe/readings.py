"""How fMoE's evaluation is read: what its paper leaves open about the five systems, and what its authors' released code says of it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is taken to hold for all systems alike.

    ``in_turn``: misses are served in the loop over experts of the modelling code, one at a time, and so is whatever else the model waits
    for; what is fetched ahead unawaited uses every link, behind a miss on its own. ``fetches_experts``: DeepSpeed-Inference copies the
    experts that a gate selects, into a cache, not whole layers. ``by_token``: what is predicted from tokens is predicted for each token of
    a prompt. ``is_released``: all five as the released evaluation code runs them.
    """

    in_turn: bool = False
    fetches_experts: bool = False
    by_token: bool = False
    is_released: bool = False


PAPER = Reading(in_turn=True, fetches_experts=True, by_token=True)
"""The paper's rules, and where it leaves things open, the released code's."""
RELEASED = Reading(in_turn=True, fetches_experts=True, by_token=True, is_released=True)
"""github.com/IntelliSys-Lab/FineMoE-EuroSys26, commit 6d06394: the one with all five systems and all three models."""
TRIED: Mapping[str, Reading] = {
    "none of the three": Reading(),
    "misses in turn": Reading(in_turn=True),
    "experts, not layers": Reading(fetches_experts=True),
    "token by token": Reading(by_token=True),
    "in turn, experts": Reading(in_turn=True, fetches_experts=True),
    "all three": PAPER,
}
"""Each alone, and together."""
