"""Latent routing: gates of all experts, that agree with the choices and with what is published of
the models.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hwprofiles import InputError
from sim.model.library import load_model
from sim.routing import LatentRouting, RoutingSpec, load_routing
from sim.routing.recurrence import reuse
from sim.routing.replay import CachePolicy, hit_rates
from sim.routing.statistics import entropy, inclusion
from tests.shared_data import shared_data

MIXTRAL = load_model("mixtral-8x7b")
NEXT = load_model("qwen3-next-80b-a3b")


def _routing(name: str) -> LatentRouting:
    routing = load_routing(name, MIXTRAL if name.startswith("mixtral") else NEXT)
    assert isinstance(routing, LatentRouting)
    return routing


def _spec(num_experts: int = 8, **latent: Any) -> RoutingSpec:
    stated = {
        "score_spread": 1.0,
        "popularity_share": [[0.0, 0.1]],
        "request_share": [[0.0, 0.2]],
    } | latent
    common = {
        "format": "rosin-routing/1",
        "name": "made up",
        "num_experts": num_experts,
        "kind": "assumed",
        "source": "a test",
        "date": "2026",
    }
    return RoutingSpec.model_validate(common | {"latent": stated})


def _repeats(ids: np.ndarray, layer: int) -> tuple[float, float]:
    """How often the first choice of the token before is the first again, and how often a choice of
    it is a choice again.
    """
    before, after = ids[:, :-1, layer], ids[:, 1:, layer]
    same = before[..., :, None] == after[..., None, :]
    return float(same[..., 0, 0].mean()), float(same.any(axis=(2, 3)).mean())


def test_mixtral_repeats_as_published() -> None:
    """Repeats of arXiv 2401.04088, table 5, within two points, but for the last layer's first
    choice; entropy of choices 0.98 to 1.
    """
    ids = _routing("mixtral-8x7b-gates").experts(MIXTRAL, 400, 40, 0)
    found = {layer: _repeats(ids, layer) for layer in (0, 15, 31)}
    for layer, published in ((0, 0.480), (15, 0.637), (31, 0.509)):
        assert found[layer][1] == pytest.approx(published, abs=0.02), layer
    for layer, published in ((0, 0.141), (15, 0.264)):
        assert found[layer][0] == pytest.approx(published, abs=0.02), layer
    assert found[31][0] < 0.227 - 0.05, (
        "docs/reference/routing.md says that the last layer falls short"
    )
    shares = inclusion(ids.reshape(-1, 32, 2), 8) / 2
    assert 0.98 <= entropy(shares).mean() <= 1.0


def test_skew_makes_first_choices_last() -> None:
    """With the same shares, skewed favour repeats the first choice more often than normal favour,
    and either choice about as often.
    """
    skewed = _routing("mixtral-8x7b-gates")
    normal = replace(skewed, numbers=replace(skewed.numbers, skew=0.0))
    first, either = _repeats(skewed.experts(MIXTRAL, 400, 40, 0), 15)
    first_normal, either_normal = _repeats(normal.experts(MIXTRAL, 400, 40, 0), 15)
    assert first > first_normal + 0.03 and either == pytest.approx(either_normal, abs=0.02)


def test_skewed_scores_have_mean_0_and_variance_1() -> None:
    """So shares stay shares of the variance: scores that last altogether, of many requests."""
    routing = _spec(
        popularity_share=[[0.0, 0.0]], request_share=[[0.0, 1.0]], skew=1.0, score_spread=0.1
    ).routing()
    full = routing.draw(MIXTRAL, 4000, 1, 0).full
    assert full is not None
    scores = np.log(full[:, 0]) / 0.1
    scores -= scores.mean(
        axis=2, keepdims=True
    )  # what the softmax takes away is the same for all experts
    assert scores.var() * 8 / 7 == pytest.approx(1.0, abs=0.05)
    assert ((scores / scores.std()) ** 3).mean() > 2.0


@pytest.mark.parametrize(
    ("name", "expected"), [("intent", 0.161), ("summary", 0.148), ("translation", 0.114)]
)
def test_tokens_carry_on_in_all_layers_or_none(name: str, expected: float) -> None:
    """Between neighbours, the share of experts kept over all 26 layers scatters three times as in
    independent layers, as jumps have it.

    Fitted to the reuse by distance in the trace ``summary``: 0.195 lasting, 0.082 for 13 tokens,
    0.525 for 0.78 tokens.
    """
    trace = np.load(shared_data(f"routing/deepseek-v2-lite-{name}.npz"))
    borders = np.concatenate([[0], np.cumsum(trace["sequence_num_tokens"])])
    kept = _kept(trace["expert_ids"], np.setdiff1d(np.arange(borders[-1]), borders))
    assert kept.std() == pytest.approx(expected, abs=0.002)
    fading = [
        {"memory_tokens": 13.0, "share": [[0.0, 0.082]]},
        {"memory_tokens": 0.783, "share": [[0.0, 0.525]]},
    ]
    model = load_model("deepseek-v2-lite")
    routing = _spec(
        num_experts=64, popularity_share=[[0.0, 0.0]], request_share=[[0.0, 0.195]], fading=fading
    ).routing()
    generated = _kept(routing.experts(model, 1, 2000, 0)[0], np.arange(1, 2000))
    assert generated.std() == pytest.approx(0.15, abs=0.02) and generated.mean() == pytest.approx(
        0.29, abs=0.02
    )


def _kept(ids: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The share of the experts of all layers that the token before selected too, [token]."""
    return np.asarray(
        (ids[tokens - 1][..., :, None] == ids[tokens][..., None, :]).any(axis=2).mean(axis=(1, 2))
    )


def test_the_512_experts_behave_as_published() -> None:
    """Of Qwen3.8-Flash-Next: the 32 most popular cover 10 %; LRU hits over 300 tokens, of five
    sizes four not used, within 3.5 points.
    """
    routing = _routing("qwen3-next-80b-a3b")
    popular = -np.sort(-routing.popularity(NEXT), axis=1)
    assert popular[:, :32].sum(axis=1).mean() == pytest.approx(0.10, abs=0.005)
    ids = routing.experts(NEXT, 1, 300, 0)[0]
    for slots, published in ((93, 0.435), (186, 0.620), (279, 0.720), (372, 0.789), (512, 0.850)):
        assert hit_rates(ids[:, ::6], 512, slots, CachePolicy.LRU).mean() == pytest.approx(
            published, abs=0.035
        ), slots
    counts = -np.sort(-inclusion(ids[:, :1], 512), axis=1)
    assert counts[0, :64].sum() / 10 == pytest.approx(0.41, abs=0.05)


def test_reuse_fades_to_a_floor() -> None:
    """Reuse falls with distance, and stays above chance within a request, not across requests."""
    routing = _routing("qwen3-next-80b-a3b")
    ids = routing.experts(NEXT, 2, 200, 0)
    by_lag = reuse(ids[0], np.array([0, 200]), 512, np.array([1, 4, 64])).mean(axis=1)
    across = (ids[0, :, :, :, None] == ids[1, :, :, None, :]).any(axis=3).mean()
    assert by_lag[0] > by_lag[1] > by_lag[2] > 1.3 * across


def test_popularity_is_what_is_counted() -> None:
    """Shares stated before a run are those of many requests' choices, to a few percent."""
    routing = _routing("mixtral-8x7b-gates")
    counted = inclusion(routing.experts(MIXTRAL, 1000, 8, 1).reshape(-1, 32, 2), 8) / 2
    np.testing.assert_allclose(routing.popularity(MIXTRAL), counted, atol=0.015)
    assert np.corrcoef(routing.popularity(MIXTRAL).ravel(), counted.ravel())[0, 1] > 0.9


def test_no_share_is_left_out() -> None:
    """With all of the variance in popularity, every token chooses alike."""
    routing = _spec(popularity_share=[[0.0, 1.0]], request_share=[[0.0, 0.0]]).routing()
    ids = routing.experts(MIXTRAL, 2, 10, 0)
    assert (ids == ids[:1, :1]).all()


@pytest.mark.parametrize(
    ("latent", "fragment"),
    [
        (
            {"request_share": [[0.0, 0.95]]},
            "shares must sum to at most 1 at every position, got 1.050",
        ),
        ({"fading": [{"memory_tokens": 4.0, "share": [[0.0, 0.1], [1.0, 0.8]]}]}, "got 1.100"),
        ({"request_share": [[1.0, 0.1], [0.0, 0.1]]}, "must rise strictly"),
        ({"score_spread": 0.0}, "greater than 0"),
    ],
)
def test_inconsistent_shares_are_refused(latent: dict[str, Any], fragment: str) -> None:
    """What cannot be is an error that says which relation is violated."""
    with pytest.raises(ValidationError, match=fragment):
        _spec(**latent)


def test_one_kind_of_statistics() -> None:
    """Latent statistics stand alone, and for as many experts as they state."""
    data = _spec().model_dump(mode="json", exclude_defaults=True) | {
        "first_choice_repeat": [[0.0, 0.2]]
    }
    with pytest.raises(ValidationError, match="latent stands instead of"):
        RoutingSpec.model_validate(data)
    with pytest.raises(InputError, match="8 experts do not fit qwen3-next-80b-a3b"):
        _spec().routing().experts(NEXT, 1, 1, 0)


def test_statistics_have_names() -> None:
    """Shipped statistics are found by name; an unknown name lists them."""
    assert load_routing("mixtral-8x7b-gates", MIXTRAL).description == "mixtral-8x7b gates"
    with pytest.raises(InputError, match="mixtral-8x7b, mixtral-8x7b-gates, qwen3-next-80b-a3b"):
        load_routing("mixtral-gates", MIXTRAL)
