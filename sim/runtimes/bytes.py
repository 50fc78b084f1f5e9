"""A model with the bytes that its file really has, given by class."""

from collections.abc import Mapping
from dataclasses import replace

from hwprofiles import InputError
from sim.model.model import Model, TensorClass

CLASSES = ("experts", "dense", "embedding")


def read_bytes_per_weight(text: str) -> Mapping[str, float]:
    """Return the bytes a weight by class from ``experts=…;dense=…;embedding=…``.

    Raises InputError for another class, for a value that is no number, and without experts.
    """
    found = {}
    for part in text.split(";"):
        name, _, number = part.partition("=")
        if name.strip() not in CLASSES:
            raise InputError(
                f"bytes_per_weight {text!r}: {name!r} is no class; known: {', '.join(CLASSES)}"
            )
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise InputError(f"bytes_per_weight {text!r}: {name}={number} is no number") from None
    if "experts" not in found:
        raise InputError(f"bytes_per_weight {text!r}: experts is missing")
    return found


def with_bytes_per_weight(model: Model, rates: Mapping[str, float]) -> Model:
    """Return the model with its bytes by class replaced by these rates in bytes a weight.

    Dense weights without a rate take the experts'; an embedding without one takes the dense rate.
    """
    experts = rates["experts"]
    # Files of one type have one rate; only mixed ones need more than the experts' stated.
    dense = rates.get("dense", experts)
    embedding = rates.get("embedding", dense)
    layers = tuple(
        replace(layer, bytes=_scaled(layer.params, experts, dense, dense)) for layer in model.layers
    )
    return replace(
        model, layers=layers, top_bytes=_scaled(model.top_params, experts, dense, embedding)
    )


def _scaled(
    params: Mapping[TensorClass, int], experts: float, dense: float, embedding: float
) -> Mapping[TensorClass, int]:
    own = {TensorClass.EXPERT: experts, TensorClass.EMBEDDING: embedding}
    return {
        tensor_class: round(count * own.get(tensor_class, dense))
        for tensor_class, count in params.items()
    }
