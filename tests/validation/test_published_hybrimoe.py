"""HybriMoE's hit rates: the LRU as published, the score cache above it."""

from pathlib import Path

import pytest

from hwprofiles import InputError
from sim.model_library import load_model
from sim.policies.cache.lru import LruCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.routing import load_routing
from validation.published import reproduce
from validation.published.hybrimoe.tables import POINTS, hit_rate_percent


def test_hit_rates() -> None:
    """LRU within 3 points of 30.2 %; the score cache above it, and more so where it is selective."""
    routing = load_routing("mixtral-8x7b-gates", load_model("mixtral-8x7b"))
    lru, score, selective = (
        hit_rate_percent(cache, routing, 0) for cache in (LruCache(), SmoothedGateCache(), SmoothedGateCache(is_selective=True))
    )
    assert abs(lru - 30.2) <= POINTS
    assert lru < score < selective


def test_popularity_is_refused(tmp_path: Path) -> None:
    """Counts say nothing of gates."""
    with pytest.raises(InputError, match="its cache looks at gates"):
        reproduce("hybrimoe", 0, tmp_path / "counts.json")


@pytest.mark.slow
def test_verdicts() -> None:
    """The LRU and the order are met; the score cache's rate is not, and other readings stand beside it without a target."""
    found = reproduce("hybrimoe")
    assert [line.is_met for line in found.summary[:3]] == [True, False, True]
    assert len(found.summary) == 8 and all(line.is_met is None for line in found.summary[3:])
