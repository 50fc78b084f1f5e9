"""Prices by measured curves: exact where an operation was measured, said to be extrapolated
elsewhere.
"""

from typing import Any

import numpy as np
import pytest

from hwprofiles import InputError, Kind, parse_machine
from sim.costs.cost_model import CostModel
from sim.costs.curve_shapes import attention_shape, ffn_shape, gate_shape, head_shape
from sim.model.model import Model, TensorClass
from sim.policies import find_policy
from sim.routing import uniform
from sim.step.provenance import provenance_of
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, SOURCE, small_machine, small_model

MEASURED = SOURCE | {"kind": "measured"}


def _costs(model: Model, *curves: dict[str, Any]) -> CostModel:
    return CostModel(machine=small_machine(curves=list(curves)), model=model)


def _attention(
    model: Model, operation: str, points: list[list[float]], sequences: int = 1, device: str = "gpu"
) -> dict[str, Any]:
    spec = model.layers[0]
    shape = attention_shape(model.hidden, spec.attention, spec.params[TensorClass.ATTENTION]) | {
        "sequences": sequences
    }
    return MEASURED | {"operation": operation, "device": device, "shape": shape, "points": points}


@pytest.mark.parametrize(
    "which", [TensorClass.ROUTER, TensorClass.SHARED_EXPERT, TensorClass.DENSE_FFN]
)
def test_weights_follow_their_curve(which: TensorClass) -> None:
    """Gate, shared experts and dense feed-forward: the curve of their shape on their device; the
    other device keeps its rates.
    """
    model = MODELS["dense-first-and-shared"]
    layer = 0 if which is TensorClass.DENSE_FFN else 1
    is_gate = which is TensorClass.ROUTER
    shape = gate_shape(model, layer) if is_gate else ffn_shape(model, layer, which)
    curve = MEASURED | {
        "operation": "gate" if is_gate else "dense",
        "device": "cpu",
        "shape": shape,
        "points": [[1, 5e6], [4, 9e6]],
    }
    measured, bare = _costs(model, curve), _costs(model)
    price = measured.weights("cpu", layer, which, np.array([1, 4, 8]))
    assert price.ns[:2].tolist() == [5_000_000, 9_000_000] and price.is_extrapolated.tolist() == [
        False,
        False,
        True,
    ]
    assert measured.weights("gpu", layer, which, 4).ns == bare.weights("gpu", layer, which, 4).ns
    assert measured.weights("cpu", layer, which, 2).provenance.kind is Kind.MEASURED


def test_shared_experts_and_dense_layers_differ_by_shape() -> None:
    """A curve of the shared experts does not price the dense layer, whose intermediate dimension is
    another.
    """
    model = MODELS["dense-first-and-shared"]
    shape = ffn_shape(model, 1, TensorClass.SHARED_EXPERT)
    assert shape != ffn_shape(model, 0, TensorClass.DENSE_FFN)
    curve = MEASURED | {"operation": "dense", "device": "gpu", "shape": shape, "points": [[1, 5e9]]}
    assert _costs(model, curve).weights("gpu", 0, TensorClass.DENSE_FFN, 1).ns < 5e9


def test_the_head_follows_its_curve() -> None:
    """By sequences, whose last positions alone are projected."""
    model = small_model()
    curve = MEASURED | {
        "operation": "dense",
        "device": "gpu",
        "shape": head_shape(model),
        "points": [[1, 7e6], [2, 8e6]],
    }
    assert _costs(model, curve).head("gpu", np.array([1, 2])).ns.tolist() == [7_000_000, 8_000_000]


def test_decoding_and_prompts_follow_their_own_curves() -> None:
    """One token a sequence by its context, more by their number; the other kind keeps its rates."""
    model = small_model()
    decode = _attention(model, "attention_decode", [[10, 3e6], [100, 6e6]])
    prefill = _attention(model, "attention_prefill", [[16, 9e6], [64, 30e6]])
    costs = _costs(model, decode, prefill)
    price = costs.attention(
        "gpu", 0, np.array([1, 1, 16]), 1, np.array([9, 99, 0]), np.array([10, 100, 16])
    )
    assert (
        price.ns.tolist() == [3_000_000, 6_000_000, 9_000_000] and not price.is_extrapolated.any()
    )
    assert price.provenance.kind is Kind.MEASURED
    only = _costs(model, decode)
    assert (
        only.attention("gpu", 0, 16, 1, 0, 16).ns
        == _costs(model).attention("gpu", 0, 16, 1, 0, 16).ns
    )
    assert only.attention("gpu", 0, 16, 1, 0, 16).provenance.kind is Kind.ASSUMED


def test_attention_that_was_not_measured_is_scaled_by_the_rates() -> None:
    """Beyond the range, with other sequences, or as a later chunk: the nearest duration by the
    ratio of rooflines, and said so.
    """
    model = small_model()
    curves = (
        _attention(model, "attention_decode", [[10, 3e6], [100, 6e6]]),
        _attention(model, "attention_prefill", [[16, 9e6], [64, 30e6]]),
    )
    costs, bare = _costs(model, *curves), _costs(model)

    def roof(*work: int) -> float:
        return float(bare.attention("gpu", 0, *work).ns)

    for work, nearest, nearest_ns in (
        ((1, 1, 399, 400), (1, 1, 99, 100), 6e6),
        ((4, 4, 9, 10), (1, 1, 9, 10), 3e6),
        ((16, 1, 32, 48), (16, 1, 0, 16), 9e6),
    ):
        price = costs.attention("gpu", 0, *work)
        assert price.is_extrapolated.all() and price.provenance.kind is Kind.ASSUMED
        assert int(price.ns) == pytest.approx(nearest_ns * roof(*work) / roof(*nearest), rel=1e-3)


def test_the_nearest_number_of_sequences_prices() -> None:
    """Curves for 1 and 16 sequences: 16 is exact, 12 is scaled from 16."""
    model = small_model()
    one, many = (
        _attention(model, "attention_decode", [[10, ns]], sequences)
        for sequences, ns in ((1, 3e6), (16, 20e6))
    )
    costs = _costs(model, one, many)
    assert costs.attention("gpu", 0, 16, 16, 9, 10).ns == 20_000_000
    price = costs.attention("gpu", 0, 12, 12, 9, 10)
    assert price.is_extrapolated.all() and 3e6 < price.ns < 20e6


@pytest.mark.parametrize(
    "change", [{"dtype": "q4_k"}, {"device": "cpu"}, {"shape": {"hidden": 64}}]
)
def test_an_attention_curve_of_something_else_is_not_used(change: dict[str, Any]) -> None:
    """Another format, device or shape leaves the rates."""
    model = small_model()
    costs = _costs(model, _attention(model, "attention_decode", [[10, 9e9]]) | change)
    assert (
        costs.attention("gpu", 0, 1, 1, 9, 10).ns
        == _costs(model).attention("gpu", 0, 1, 1, 9, 10).ns
    )


def test_a_run_names_the_curves_it_rests_on() -> None:
    """Every curve that prices something of the model on a busy device, and none of another shape."""
    model = small_model()
    gate = MEASURED | {
        "operation": "gate",
        "device": "gpu",
        "shape": gate_shape(model, 0),
        "points": [[1, 5e3], [64, 9e3]],
    }
    other = gate | {"shape": {"hidden": 1, "experts": 1, "top_k": 1}}
    decode = _attention(model, "attention_decode", [[1, 3e3], [100, 6e3]])
    scenario = Scenario(
        machine=small_machine(curves=[other, gate, decode]),
        model=model,
        batch=Batch(prompt_tokens=4, output_tokens=3),
        policy=find_policy("all-on-gpu"),
        routing=uniform(),
    )
    run = simulate(scenario)
    assert isinstance(run, Run)
    paths = [
        number.path for number in provenance_of(run).numbers if number.path.startswith("curves")
    ]
    assert not provenance_of(run).extrapolated
    assert paths == [
        "curves.1 (gpu gate, ns by tokens)",
        "curves.2 (gpu attention_decode, ns by context tokens)",
    ]


def test_a_run_says_which_attention_was_not_measured() -> None:
    """Two of three decode passes lie beyond a curve that ends at 5 tokens of context; the prompt
    has no curve, so nothing was left.
    """
    model = small_model()
    scenario = Scenario(
        machine=small_machine(curves=[_attention(model, "attention_decode", [[1, 3e3], [5, 6e3]])]),
        model=model,
        batch=Batch(prompt_tokens=4, output_tokens=4),
        policy=find_policy("all-on-gpu"),
        routing=uniform(),
    )
    run = simulate(scenario)
    assert isinstance(run, Run)
    assert provenance_of(run).extrapolated == (
        "50% of gpu attention runs have a context or number of sequences not measured (extrapolated)",
    )


def test_spreads_belong_to_points() -> None:
    """One for each point or none at all."""
    curve = MEASURED | {
        "operation": "norm",
        "device": "cpu",
        "shape": {"hidden": 8},
        "points": [[1, 5], [2, 6]],
    }
    assert small_machine(curves=[curve | {"spread_fractions": [0.1, 0.2]}]).curves[
        0
    ].spread_fractions == (0.1, 0.2)
    data = small_machine().model_dump(mode="json") | {
        "curves": [curve | {"spread_fractions": [0.1]}]
    }
    with pytest.raises(
        ValueError, match="spread_fractions must have one for each of 2 points, got 1"
    ):
        parse_machine(data, "a file")


def test_a_time_that_no_clock_holds_is_refused() -> None:
    """Rounded to whole ns, it would turn negative without a word."""
    model = MODELS["dense-first-and-shared"]
    curve = MEASURED | {
        "operation": "gate",
        "device": "cpu",
        "shape": gate_shape(model, 1),
        "points": [[1, 1e15]],
    }
    with pytest.raises(InputError, match="takes over 126 years"):
        _costs(model, curve).weights("cpu", 1, TensorClass.ROUTER, np.array([1, 10**9]))
