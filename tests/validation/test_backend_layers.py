"""Layers that the backend does not run are refused in one line that names the layer and what it
lacks or has.
"""

import pytest

pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from hwprofiles import InputError
from sim.model.model import Layer
from tests.sim.small import layer_of, model_of
from validation.backend.architecture import architecture_of, stand_in
from validation.measuring.built import built, has_attention


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layer_of("none", "experts"), "no attention"),
        (layer_of("weights", "dense"), "no attention"),
        (layer_of("state", "experts"), "a state in place of attention"),
        (layer_of("both", "experts"), "a state beside attention"),
        (layer_of("compressed", "experts"), "compressed or sparse attention"),
        (layer_of("sparse", "experts"), "compressed or sparse attention"),
        (layer_of("attention", "none"), "no feed-forward"),
        (layer_of("attention", "dense and experts"), "experts beside a dense feed-forward"),
    ],
)
def test_a_layer_that_is_not_run_is_named(layer: Layer, reason: str) -> None:
    """The second of two layers; measuring builds a plain decoder in its place and leaves its
    attention out.
    """
    model = model_of("odd", layer_of("attention", "dense"), layer)
    with pytest.raises(
        InputError, match=f"^odd: layer 1 has {reason}, which the backend does not run$"
    ):
        architecture_of(model)
    assert built(model).layers
    assert has_attention(model, 1) == (
        reason in ("no feed-forward", "experts beside a dense feed-forward")
    )


def test_what_is_not_there_has_no_stand_in() -> None:
    """A stand-in has attention and a feed-forward in every layer; states are stood in for."""
    assert stand_in(model_of("state", layer_of("state", "experts"))).layers[0].attention is not None
    for layer, reason in (
        (layer_of("none", "experts"), "no attention"),
        (layer_of("attention", "none"), "no feed-forward"),
    ):
        with pytest.raises(
            InputError, match=f"layer 0 has {reason}, which the backend does not run"
        ):
            stand_in(model_of("odd", layer))
