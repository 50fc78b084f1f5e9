"""The model file, format rosin-model/1: a configuration to count from, or explicit layers with
their bytes.
"""

import datetime
from dataclasses import fields
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from hwprofiles import Kind, Provenance
from hwprofiles.file_part import FilePart
from hwprofiles.formats import WEIGHT_FORMATS, check_words
from sim.model.attention import Attention, Count, Positive, State
from sim.model.model import Layer, Model, TensorClass
from sim.model.quantization import FORMATS

FORMAT: Literal["rosin-model/1"] = "rosin-model/1"


def _date_text(value: Any) -> Any:
    """Return a date as text. YAML reads an unquoted date as a date and an unquoted year as a
    number.
    """
    return (
        str(value)
        if isinstance(value, datetime.date)
        or (isinstance(value, int) and not isinstance(value, bool))
        else value
    )


Date = Annotated[str, BeforeValidator(_date_text), Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
Text = Annotated[str, Field(min_length=1)]
_ATTENTION_SIZES = ("kv_elements_per_token", "score_elements", "value_elements")
_ATTENTION_KEYS = frozenset(each.name for each in fields(Attention))


class Published(FilePart):
    """The size of a model as a source states it.

    ``active_params`` counts the embedding, as Model.active_params does.
    """

    total_params: Positive
    active_params: Positive | None = None
    source: Text
    date: Date


class LayerSpec(FilePart):
    """Equal layers, at the indices ``at``: attention, a state, both or neither.

    A layer without attention may leave the key out. The class ``expert`` counts one expert.
    """

    at: Annotated[tuple[Count, ...], Field(min_length=1)]
    attention: Attention | None = None
    state: State | None = None
    num_experts: Count
    top_k: Count
    params: dict[TensorClass, Count]
    bytes: dict[TensorClass, Count]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.top_k > self.num_experts:
            raise ValueError(
                f"top_k ≤ num_experts must hold, got {self.top_k} > {self.num_experts}"
            )
        # A router without experts, or experts that nobody selects, would be priced as something.
        if (self.top_k > 0) != (self.num_experts > 0):
            raise ValueError(
                f"a layer with experts selects at least one, got top_k 0 of {self.num_experts}"
            )
        # Weights say what is computed, bytes what is read: one without the other is half a price.
        if set(self.params) != set(self.bytes):
            raise ValueError("params and bytes must name the same tensor classes")
        return self

    @model_validator(mode="before")
    @classmethod
    def _reads_zeros(cls, data: Any) -> Any:
        """Read attention whose sizes are all zero, as ``_writes_zeros`` writes it, as none."""
        attention = data.get("attention") if isinstance(data, dict) else None
        if not isinstance(attention, dict):
            return data
        # What is left out is checked all the same: a misspelt key may be a size.
        if any(attention.get(key) != 0 for key in _ATTENTION_SIZES):
            return data
        unknown = attention.keys() - _ATTENTION_KEYS
        if unknown:
            raise ValueError(f"attention: unknown key {min(unknown)!r}")
        return {**data, "attention": None}

    @model_serializer(mode="wrap")
    def _writes_zeros(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write attention for every layer, zeros where it has none, so that scripts find the same
        keys in each.
        """
        written = handler(self)
        attention = written.get("attention", dict.fromkeys(("num_heads", *_ATTENTION_SIZES), 0))
        return {"at": written["at"], "attention": attention, **written}


class TensorSpec(FilePart):
    """A model with explicit bytes: the fields of sim.model.model.Model that its configuration would
    otherwise give.
    """

    family: Text
    hidden: Positive
    vocab: Positive
    expert_intermediate: Count
    max_context_tokens: Positive
    is_head_tied: bool = False
    activation_bytes: Positive = 2
    kv_element_bytes: Annotated[float, Field(gt=0)] = 2.0
    left_out: tuple[Text, ...] = ()
    dtypes: Annotated[dict[TensorClass, str], Field(min_length=1)]
    params: dict[TensorClass, Count]
    bytes: dict[TensorClass, Count]
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _covers_all_layers(self) -> Self:
        indices = sorted(index for layer in self.layers for index in layer.at)
        # Sorted and compared whole: this finds gaps, repetitions and a first layer that is not 0.
        if indices != list(range(len(indices))):
            raise ValueError(
                f"the indices under layers.*.at must be 0 to {len(indices) - 1}, each once"
            )
        return self

    @model_validator(mode="after")
    def _formats_are_known(self) -> Self:
        check_words("weight format", set(self.dtypes.values()), WEIGHT_FORMATS | set(FORMATS))
        classes = set(self.params).union(*(layer.params for layer in self.layers))
        missing = sorted(classes - set(self.dtypes))
        if missing:
            raise ValueError(f"dtypes must say what {missing[0].value} weights are stored in")
        return self


_OF_MODEL = tuple(
    item.name for item in fields(Model) if item.name in set(TensorSpec.model_fields) - {"layers"}
)
"""The names of the fields that a model and a TensorSpec have in common."""
_OF_LAYER = tuple(name for name in LayerSpec.model_fields if name != "at")


class ModelSpec(FilePart):
    """A model file. Exactly one of ``config`` (keys of a Hugging Face config.json) and ``tensors``
    (explicit) is given.

    ``quantization`` is the scheme that the weights come in. ``other_names`` are names of models
    with the same layers, as people write them, in small letters.
    """

    format: Literal["rosin-model/1"]
    name: Text
    source: Text
    date: Date
    kind: Kind = Kind.PUBLISHED
    quantization: Text
    other_names: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")], ...] = ()
    published: tuple[Published, ...] = ()
    config: dict[str, Any] | None = None
    tensors: TensorSpec | None = None

    @model_validator(mode="after")
    def _has_one_content(self) -> Self:
        if (self.config is None) == (self.tensors is None):
            raise ValueError("exactly one of the keys config and tensors must be given")
        return self

    @property
    def provenance(self) -> Provenance:
        """The provenance that the file states for its figures."""
        return Provenance(kind=self.kind, source=self.source, date=self.date)


def explicit_spec(model: Model) -> ModelSpec:
    """Return the model file of a model, with explicit layers; equal layers are written once."""
    provenance = model.provenance
    return ModelSpec(
        format=FORMAT,
        name=model.name,
        source=provenance.source,
        date=provenance.date,
        kind=provenance.kind,
        quantization=model.quantization,
        tensors=TensorSpec(
            **{name: getattr(model, name) for name in _OF_MODEL},
            params=dict(model.top_params),
            bytes=dict(model.top_bytes),
            layers=_layer_specs(model),
        ),
    )


def explicit_model(spec: ModelSpec, tensors: TensorSpec) -> Model:
    """The model of a file with explicit layers."""
    made = [(index, _layer(layer)) for layer in tensors.layers for index in layer.at]
    return Model(
        name=spec.name,
        quantization=spec.quantization,
        provenance=spec.provenance,
        **{name: getattr(tensors, name) for name in _OF_MODEL},
        top_params=tensors.params,
        top_bytes=tensors.bytes,
        layers=tuple(layer for _, layer in sorted(made, key=lambda item: item[0])),
    )


def _layer_specs(model: Model) -> tuple[LayerSpec, ...]:
    groups: list[tuple[Layer, list[int]]] = []
    for index, layer in enumerate(model.layers):
        # Layers hold mappings and have no hash, so they are compared one by one; kinds are few.
        for known, indices in groups:
            if known == layer:
                indices.append(index)
                break
        else:
            groups.append((layer, [index]))
    return tuple(_layer_spec(layer, indices) for layer, indices in groups)


def _layer_spec(layer: Layer, indices: list[int]) -> LayerSpec:
    return LayerSpec(at=tuple(indices), **{name: getattr(layer, name) for name in _OF_LAYER})


def _layer(spec: LayerSpec) -> Layer:
    return Layer(**{name: getattr(spec, name) for name in _OF_LAYER})
