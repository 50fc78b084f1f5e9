"""A model from a Hugging Face config.json."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hwprofiles import Kind, Provenance
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder, DecoderLayer
from sim.model.importers.families import family_of
from sim.model.importers.families.registry import CONTEXT_KEYS
from sim.model.importers.family import Family
from sim.model.importers.schemes import Scheme, find_scheme, scheme_named, sizes_by_layer
from sim.model.importers.stored import Storage, native_storage
from sim.model.importers.unused_keys import left_out, refuse_unused
from sim.model.importers.weights import Weight, params_of
from sim.model.model import Layer, Model, TensorClass
from sim.model.quantization import class_bytes

_KEPT = "mxfp4"
"""The format of experts that every GGUF file keeps as the checkpoint has them.

Files of gpt-oss-20b and 120b have 12 to 14 and 63 to 65 GB, whatever their mix is called.
"""


def model_from_config(
    config: Mapping[str, Any],
    *,
    name: str,
    provenance: Provenance,
    quantization: str | None = "16bit",
    where: str | None = None,
    checkpoint: str | None = None,
) -> Model:
    """Return the model that a configuration describes.

    ``quantization`` names a scheme, or the one that the checkpoint is stored in; None stands for
    the latter. ``checkpoint`` names the scheme of the checkpoint, for configurations that do not
    state it. Weights are counted as the family's modelling class builds them. Layers for
    multi-token prediction and vision parts are left out.

    Raises InputError, one line that names ``where`` (the source, unless given) and the key, for an
    unknown family or a missing or wrong key. A key that would change the weights and that the
    family does not read is an error, too.
    """
    keys = ConfigKeys(config, where or provenance.source)
    family = family_of(keys)
    decoder = family.decode(keys)
    stored = _stored(keys, family, decoder, quantization, _expert_type(keys, checkpoint))
    # Asked for before unread keys are refused, as it is read by no family.
    context_tokens = keys.count(*CONTEXT_KEYS)
    refuse_unused(keys, family)
    top_params = params_of(decoder.top)
    return Model(
        name=name,
        family=family.name,
        hidden=keys.count("hidden_size"),
        vocab=keys.count("vocab_size"),
        expert_intermediate=decoder.expert_intermediate,
        layers=stored.layers,
        top_params=top_params,
        top_bytes=stored.top_bytes,
        dtypes=stored.formats,
        quantization=stored.name,
        max_context_tokens=context_tokens,
        provenance=approximated(provenance, stored.name, stored.approximation),
        is_head_tied=decoder.is_head_tied,
        left_out=left_out(keys),
    )


def approximated(provenance: Provenance, name: str, approximation: str) -> Provenance:
    """Return the provenance of a model in the scheme ``name``.

    With an ``approximation`` it is assumed, and its source says how; else it stays as it is.
    """
    if not approximation:
        return provenance
    source = f"{provenance.source}; bytes of {name}: {approximation}"
    return replace(provenance, kind=Kind.ASSUMED, source=source)


def native_quantization(config: Mapping[str, Any], where: str) -> str:
    """Return the name of what the checkpoint is stored in: 16bit where the configuration says
    nothing.

    Raises InputError, naming the key, for settings that are not understood.
    """
    return native_storage(ConfigKeys(config, where)).name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    name: str
    layers: tuple[Layer, ...]
    top_bytes: Mapping[TensorClass, int]
    formats: dict[TensorClass, str]
    approximation: str = ""


def _stored(
    keys: ConfigKeys,
    family: Family,
    decoder: Decoder,
    quantization: str | None,
    expert_type: str | None,
) -> _Stored:
    """Store the weights in the named scheme, or as the checkpoint has them where the name is None
    or that of the checkpoint's storage.
    """
    # A name may be a scheme and also what the checkpoint says of itself, such as fp8: then the
    # checkpoint's own settings go first, as they are byte for byte.
    scheme = None if quantization is None else find_scheme(quantization)
    storage = None if scheme and not _is_settled(keys) else native_storage(keys)
    if storage is None or not _is_native(storage, quantization):
        named = scheme or scheme_named(str(quantization))
        return _in_scheme(keys, family, decoder, named, expert_type)
    if storage.name == "16bit":
        return _in_scheme(keys, family, decoder, scheme_named(storage.name), expert_type)
    return _native(family, decoder, storage)


def _is_native(storage: Storage, quantization: str | None) -> bool:
    return quantization is None or quantization.lower() == storage.name.lower()


def _is_settled(keys: ConfigKeys) -> bool:
    """Whether the configuration's settings of storage, if it has any, are understood."""
    try:
        native_storage(keys)
    except ValueError:
        return False
    return True


def _expert_type(keys: ConfigKeys, checkpoint: str | None) -> str | None:
    """The type that experts have in every GGUF file; None where the mix decides."""
    # llama.cpp converts such experts as they are (its pull request 16756), and quantizes no tensor
    # that is quantized already.
    native = native_storage(keys).name if _is_settled(keys) else None
    return _KEPT if _KEPT in (checkpoint, native) else None


def _in_scheme(
    keys: ConfigKeys, family: Family, decoder: Decoder, scheme: Scheme, expert_type: str | None
) -> _Stored:
    """Store the weights by class, by the settings of a checkpoint, or by a mix of types."""
    scheme = scheme.of(is_dense=not any(block.num_experts for block in decoder.blocks))
    if scheme.mix is not None:
        return _in_mix(family, decoder, scheme, expert_type)
    if scheme.settings is not None:
        settings = ConfigKeys({"quantization_config": scheme.settings}, keys.where)
        stored = _native(family, decoder, native_storage(settings))
        return replace(stored, name=scheme.name, approximation=scheme.approximation)
    return _by_class_format(decoder, scheme)


def _by_class_format(decoder: Decoder, scheme: Scheme) -> _Stored:
    formats = scheme.classes
    made: dict[int, Layer] = {}
    for block in decoder.blocks:
        # Equal layers share one block, so each kind is counted once, however many layers there are.
        if id(block) not in made:
            params = params_of(block.weights)
            made[id(block)] = _layer(block, params, class_bytes(params, formats))
    return _Stored(
        name=scheme.name,
        layers=tuple(made[id(block)] for block in decoder.blocks),
        top_bytes=class_bytes(params_of(decoder.top), formats),
        formats=dict(formats),
    )


def _in_mix(family: Family, decoder: Decoder, scheme: Scheme, expert_type: str | None) -> _Stored:
    """Store the weights in a mix of types, byte for byte by tensor and layer."""
    assert scheme.mix is not None
    sizes, outside = sizes_by_layer(decoder, scheme.mix, family.name, expert_type)
    formats: Counter[tuple[TensorClass, str]] = Counter(outside)
    made: dict[tuple[int, tuple[tuple[tuple[TensorClass, str], int], ...]], Layer] = {}
    layers = []
    for block, num_bytes in zip(decoder.blocks, sizes, strict=True):
        # A mix may store equal layers in different types, by their place in the model.
        kind = (id(block), tuple(num_bytes.items()))
        if kind not in made:
            made[kind] = _layer(block, params_of(block.weights), _by_class(num_bytes))
        layers.append(made[kind])
        formats.update(num_bytes)
    return _Stored(
        name=scheme.name,
        layers=tuple(layers),
        top_bytes=_by_class(outside),
        formats=_dominant(formats, "f32"),
        approximation=scheme.approximation,
    )


def _native(family: Family, decoder: Decoder, storage: Storage) -> _Stored:
    """Store the weights as the checkpoint has them, byte for byte by tensor. The format of a class
    is that of most of its bytes.
    """
    formats: Counter[tuple[TensorClass, str]] = Counter()
    made: dict[tuple[int, tuple[object, ...]], Layer] = {}
    layers = []
    for index, block in enumerate(decoder.blocks):
        prefix = f"{family.layers}.{index}."
        # Settings may name single layers, so the name that is asked about has the layer's number.
        packings = tuple(storage.packing(weight, prefix + weight.name) for weight in block.weights)
        kind = (id(block), packings)
        if kind not in made:
            num_bytes = _num_bytes(zip(block.weights, packings, strict=True))
            made[kind] = _layer(block, params_of(block.weights), _by_class(num_bytes))
        layers.append(made[kind])
        formats.update(_num_bytes(zip(block.weights, packings, strict=True)))
    outside = [(weight, storage.packing(weight, weight.name)) for weight in decoder.top]
    formats.update(_num_bytes(outside))
    return _Stored(
        name=storage.name,
        layers=tuple(layers),
        top_bytes=_by_class(_num_bytes(outside)),
        formats=_dominant(formats, storage.wide.format),
    )


def _num_bytes(packed: Iterable[tuple[Weight, Any]]) -> Counter[tuple[TensorClass, str]]:
    found: Counter[tuple[TensorClass, str]] = Counter()
    for weight, packing in packed:
        found[weight.tensor_class, packing.format] += packing.num_bytes(weight.rows, weight.columns)
    return found


def _by_class(num_bytes: Mapping[tuple[TensorClass, str], int]) -> Mapping[TensorClass, int]:
    found: Counter[TensorClass] = Counter()
    for (tensor_class, _), count in num_bytes.items():
        found[tensor_class] += count
    return dict(found)


def _dominant(formats: Mapping[tuple[TensorClass, str], int], rest: str) -> dict[TensorClass, str]:
    """Return for each class the format of most of its bytes, or ``rest`` where it has none; of two
    equal ones, the first by name.
    """
    result = {}
    for tensor_class in TensorClass:
        # Negative, so that the smallest pair has the most bytes and of equals the first name.
        held = [(-count, name) for (which, name), count in formats.items() if which is tensor_class]
        result[tensor_class] = min(held)[1] if held else rest
    return result


def _layer(
    block: DecoderLayer, params: Mapping[TensorClass, int], num_bytes: Mapping[TensorClass, int]
) -> Layer:
    return Layer(
        attention=block.attention,
        state=block.state,
        num_experts=block.num_experts,
        top_k=block.top_k,
        params=params,
        bytes=num_bytes,
    )
