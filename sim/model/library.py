"""Finding, reading and writing models: by name from the library, or by path in any of the formats
that Rosin reads.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from hwprofiles import (
    InputError,
    near,
    read_json,
    read_yaml,
    unknown_name,
    validated,
    write_yaml,
)
from hwprofiles.input_file import is_there
from sim.model.importers.families import MODEL_TYPES
from sim.model.importers.gguf import model_from_gguf
from sim.model.importers.huggingface import approximated, model_from_config, native_quantization
from sim.model.importers.schemes import find_scheme, nearest_scheme, reduced
from sim.model.importers.stored import BESIDE, settings_beside, states_settings
from sim.model.model import Model
from sim.model.names import is_path, named_model, unknown_model
from sim.model.quantization import FORMATS, KV_TYPES, class_bytes
from sim.model.spec import FORMAT, ModelSpec, explicit_model, explicit_spec


def model_names() -> list[str]:
    """Names of the models that ship with Rosin, sorted."""
    return sorted(_library())


def load_model(
    name_or_path: str, quantization: str | None = None, family: str | None = None
) -> Model:
    """Return the model of that name or path.

    A path is that of a model file, a config.json, a Hugging Face folder or a GGUF file. A name may
    be a repository's or a file's, which says the scheme too. ``quantization`` names a scheme of
    sim.model.importers.schemes. None keeps what the name says, else what the source is stored in.
    ``family`` takes the place of the ``model_type`` in a config.json. Raises InputError, one line,
    for an unknown name or scheme, an unreadable file, or a wrong key or value.
    """
    path, named_quantization = _find(name_or_path)
    quantization = quantization or named_quantization
    if path.suffix == ".gguf":
        _check_family(family, path)
        model = model_from_gguf(path)
    else:
        spec = load_spec(name_or_path, quantization, family)
        if spec.config is not None:
            return model_from_config(
                spec.config,
                name=spec.name,
                provenance=spec.provenance,
                quantization=quantization or spec.quantization,
                where=name_or_path,
                checkpoint=spec.quantization,
            )
        assert spec.tensors is not None
        model = explicit_model(spec, spec.tensors)
    # What is asked for may be what the file has: then its exact bytes stay.
    is_stored_so = quantization is None or quantization.lower() == model.quantization.lower()
    return model if is_stored_so else requantized(model, str(quantization))


def with_kv_type(model: Model, kv_type: str | None) -> Model:
    """Return the model with its keys and values stored in that type; None keeps the model's own.

    Raises InputError for an unknown type.
    """
    if kv_type is None:
        return model
    if kv_type.lower() not in KV_TYPES:
        raise unknown_name("type of keys and values", kv_type, KV_TYPES)
    return replace(model, kv_element_bytes=FORMATS[kv_type.lower()].bytes_per_weight)


def load_spec(
    name_or_path: str, quantization: str | None = None, family: str | None = None
) -> ModelSpec:
    """Return the model file of that name or path.

    A config.json, its folder or a GGUF file becomes the file that import would write.
    ``quantization`` names the scheme of a config.json; None: what the file says. Raises InputError
    as load_model does.
    """
    path, _ = _find(name_or_path)
    if path.is_dir() or path.suffix == ".json":
        return _spec_of_config(
            path / "config.json" if path.is_dir() else path, quantization, family
        )
    _check_family(family, path)
    if path.suffix == ".gguf":
        return explicit_spec(model_from_gguf(path))
    where = path.stem if path in _library().values() else str(path)
    return parse_spec(read_yaml(path, "model"), where)


def _check_family(family: str | None, path: Path) -> None:
    """Raise InputError if a family is stated for a file that is read in one way alone."""
    if family is not None:
        raise InputError(
            f"`family` is for a config.json; {path.name} says itself how it is read, got {family!r}"
        )


def parse_spec(data: Any, where: str) -> ModelSpec:
    """Validate the data of a model file; ``where`` names its origin in errors."""
    spec = validated(ModelSpec, data, where)
    if spec.config is not None and not _is_known(spec.quantization, spec.config, where):
        hint = nearest_scheme(spec.quantization)
        raise InputError(f"{where}: quantization: no scheme named {spec.quantization!r}{hint}")
    return spec


def requantized(model: Model, quantization: str) -> Model:
    """Return the model with the same weights in the named scheme. Raises InputError for an unknown
    one.

    A model knows no single tensors, so each class is stored in the type that the scheme has for
    most of it.
    """
    scheme = reduced(quantization, is_dense=model.is_dense)
    layers = []
    for layer in model.layers:
        # Weights stay as they are counted: only their bytes depend on the scheme.
        layers.append(replace(layer, bytes=class_bytes(layer.params, scheme.classes)))
    return replace(
        model,
        layers=tuple(layers),
        top_bytes=class_bytes(model.top_params, scheme.classes),
        dtypes=dict(scheme.classes),
        quantization=scheme.name,
        provenance=approximated(model.provenance, scheme.name, scheme.approximation),
    )


def save_model(model: Model | ModelSpec, path: str | Path) -> None:
    """Write a model file, whole or not at all. ``load_model`` reads an equal model from it.

    Raises InputError where the file cannot be written.
    """
    spec = explicit_spec(model) if isinstance(model, Model) else model
    # Defaults are left out: a file says what its source says, and no more.
    write_yaml(spec.model_dump(mode="json", exclude_defaults=True), Path(path))


def _spec_of_config(path: Path, quantization: str | None, family: str | None) -> ModelSpec:
    config = _with_settings_beside(path, _read_config(path))
    folder = path.resolve().parent.name
    return ModelSpec(
        format=FORMAT,
        # All such files have one name; the folder is the checkpoint's.
        name=folder if path.name == "config.json" and folder else path.stem,
        source=str(path),
        date=datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat(),
        quantization=quantization or native_quantization(config, str(path)),
        config=dict(config) if family is None else as_family(config, family),
    )


def as_family(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Return the configuration with that family as its ``model_type``, and as that of its text part
    where it has one.

    Raises InputError for an unknown family.
    """
    if family not in MODEL_TYPES:
        raise unknown_name("model family", family, MODEL_TYPES)
    changed = {**config, "model_type": family}
    # In both places, as keys of the text part stand before those of the top level.
    nested = config.get("text_config")
    if isinstance(nested, Mapping):
        changed["text_config"] = {**nested, "model_type": family}
    return changed


def _is_known(quantization: str, config: Mapping[str, Any], where: str) -> bool:
    """Whether ``quantization`` is a scheme, or what the configuration says that its checkpoint is
    stored in.
    """
    if find_scheme(quantization) is not None:
        return True
    try:
        return quantization == native_quantization(config, where)
    except InputError:
        return False


def _with_settings_beside(path: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with quantisation settings that its checkpoint keeps in a file beside it."""
    # A file of another name may lie anywhere; what lies beside it need not be of it.
    if path.name != "config.json" or states_settings(config):
        return config
    for name in BESIDE:
        other = path.parent / name
        if other.is_file():
            return {**config, "quantization_config": settings_beside(name, _read_config(other))}
    return config


def _read_config(path: Path) -> Mapping[str, Any]:
    return read_json(
        path, "model configuration", takes_infinity=True
    )  # some have time_step_limit: [0.0, Infinity]


def _find(name_or_path: str) -> tuple[Path, str | None]:
    """Return the path that describes the model, and the scheme that the name says; None where it
    says none.
    """
    library = _library()
    if name_or_path in library:
        return library[name_or_path], None
    # A file goes before a model of its name: it says its own bytes.
    path = Path(name_or_path)
    # An empty name would be the folder that we are in.
    if name_or_path.strip() and is_there(path):
        return path, None
    if is_path(name_or_path):
        raise InputError(f"no model file {name_or_path}{near(path.stem, library)}")
    known = _names()
    found = named_model(name_or_path, known)
    if found is None:
        raise unknown_model(name_or_path, known)
    return library[found.name], found.quantization


@cache
def _names() -> dict[str, str]:
    """The name of a model in the library, by each of its names."""
    names = {name: name for name in _library()}
    for name, path in _library().items():
        names |= dict.fromkeys(read_yaml(path, "model").get("other_names", ()), name)
    return names


@cache
def _library() -> dict[str, Path]:
    folder = Path(str(resources.files("sim") / "model" / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
