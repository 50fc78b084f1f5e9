"""Linear attention: weights of a gated delta net, its constant state, and what it costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwprofiles import InputError, Kind, Provenance, load_machine
from sim.costs.cost_model import CostModel
from sim.costs.roofline import FLOPS_PER_STATE_ELEMENT
from sim.model.importers import model_from_config
from sim.model.library import load_model, load_spec
from sim.model.model import Model, State, TensorClass

HERE = Provenance(kind=Kind.PUBLISHED, source="some/config.json", date="2026-01")
HIDDEN, KEYS, VALUES, HEADS = 2048, 16 * 128, 32 * 128, 32


def _model(**changes: Any) -> Model:
    config = dict(load_spec("qwen3-next-80b-a3b").config or {}) | changes
    return model_from_config(
        {key: value for key, value in config.items() if value is not None},
        name="m",
        provenance=HERE,
    )


def test_every_fourth_layer_has_full_attention() -> None:
    """Three gated delta nets, then one layer with keys and values, and so on."""
    layers = load_model("qwen3-next-80b-a3b").layers
    assert [layer.kv_elements(1) for layer in layers[:8]] == [0, 0, 0, 2 * 2 * 256] * 2
    assert [layer.state_elements > 0 for layer in layers[:4]] == [True, True, True, False]


def test_weights_by_hand() -> None:
    """Queries, keys, values, gates and decays of a delta net with its convolution; a query
    projection twice as wide in the others.
    """
    linear, full = (
        load_model("qwen3-next-80b-a3b").layers[0].params,
        load_model("qwen3-next-80b-a3b").layers[3].params,
    )
    convolved = 2 * KEYS + VALUES
    assert (
        linear[TensorClass.ATTENTION]
        == HIDDEN * (convolved + VALUES + 2 * HEADS) + VALUES * HIDDEN + 4 * convolved + 2 * HEADS
    )
    assert linear[TensorClass.NORM] == 2 * HIDDEN + 128
    assert full[TensorClass.ATTENTION] == HIDDEN * (2 * 16 * 256 + 2 * 2 * 256) + 16 * 256 * HIDDEN
    assert full[TensorClass.NORM] == 2 * HIDDEN + 2 * 256


def test_counts_equal_the_modelling_class() -> None:
    """A small configuration, on the meta device: as many weights as transformers builds."""
    torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers, from the extra `validate`"
    )
    small = {
        "num_hidden_layers": 5,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "vocab_size": 1000,
        "hidden_size": 256,
    }
    small |= {
        "linear_num_value_heads": 8,
        "linear_num_key_heads": 4,
        "linear_conv_kernel_dim": 3,
        "head_dim": 64,
        "attention_bias": True,
    }
    config = dict(load_spec("qwen3-next-80b-a3b").config or {}) | small
    with torch.device("meta"):
        built = transformers.Qwen3NextForCausalLM(transformers.Qwen3NextConfig(**config))
    assert _model(**small).total_params == sum(
        parameter.numel() for parameter in built.parameters()
    )


def test_the_state_does_not_grow() -> None:
    """Twelve layers cache keys and values; the other 36 keep 32·128·128 elements and three inputs
    of the convolution in 32 bit.
    """
    model = load_model("qwen3-next-80b-a3b")
    state = 36 * (4 * HEADS * 128 * 128 + 3 * 4 * (2 * KEYS + VALUES))
    assert model.kv_bytes_per_token == 12 * 2 * 2 * 256 * 2
    for tokens in (1, 1000, 100_000):
        assert model.kv_bytes(tokens) == state + tokens * model.kv_bytes_per_token
    assert model.layer_kv_bytes(0, 10) == model.layer_kv_bytes(0, 100_000) == state // 36


def test_layer_types_say_the_same() -> None:
    """A list of layer types gives the model that the interval gives; another type is refused."""
    kinds = ["full_attention" if index % 4 == 3 else "linear_attention" for index in range(48)]
    assert _model(layer_types=kinds, full_attention_interval=None) == _model()
    with pytest.raises(
        InputError, match="full_attention, linear_attention, got 'sliding_attention'"
    ):
        _model(layer_types=["sliding_attention", *kinds[1:]])
    with pytest.raises(InputError, match="linear_num_value_heads"):
        _model(linear_num_value_heads=None)


def test_decode_costs_the_same_at_any_context() -> None:
    """A token of a delta net costs no more after 100,000 tokens than after one; a token of full
    attention does.
    """
    costs = CostModel(machine=load_machine("a100-40"), model=load_model("qwen3-next-80b-a3b"))
    first, later = (
        costs.attention("cpu", 0, 1, 1, context, context + 1).ns for context in (1, 100_000)
    )
    assert first == later
    assert (
        costs.attention("cpu", 3, 1, 1, 100_000, 100_001).ns
        > costs.attention("cpu", 3, 1, 1, 1, 2).ns
    )


def test_a_prompt_costs_its_weights_and_states() -> None:
    """A long prompt on the CPU: 2 FLOPs a weight and 7 a state element for every token, linear in
    tokens.
    """
    machine, model = load_machine("a100-40"), load_model("qwen3-next-80b-a3b")
    layer = model.layers[0]
    params = layer.params[TensorClass.ATTENTION] + layer.params[TensorClass.NORM]
    flops = 4096 * (2 * params + FLOPS_PER_STATE_ELEMENT * layer.state_elements)
    expected = (
        flops / machine.cpu.flops_per_s["bf16"].effective * 1e9
        + machine.cpu.call_overhead_ns.effective
    )
    found = CostModel(machine=machine, model=model).attention("cpu", 0, 4096, 1, 0, 4096).ns
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_state_is_read_and_written() -> None:
    """One token of many sequences: beyond the weights, twice the state of each."""
    machine, model = load_machine("a100-40"), load_model("qwen3-next-80b-a3b")
    costs = CostModel(machine=machine, model=model)
    plain = replace(
        model,
        layers=(
            replace(model.layers[0], state=State(elements=model.layers[0].state_elements, bytes=0)),
        ),
    )
    many = np.array([64])
    more = (
        costs.attention("gpu", 0, many, many, 10, 11).ns
        - CostModel(machine=machine, model=plain).attention("gpu", 0, many, many, 10, 11).ns
    )
    moved = 64 * 2 * model.layers[0].state_bytes
    assert more[0] == pytest.approx(moved / machine.gpu.memory_bytes_per_s.effective * 1e9, rel=0.2)
