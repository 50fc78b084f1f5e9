"""A scheme as one format a class, for models whose tensors are not known."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.schemes.names import scheme_named
from sim.model.importers.schemes.scheme import Mix, Scheme
from sim.model.importers.schemes.sizes import main_type
from sim.model.importers.schemes.tensors import Role
from sim.model.importers.stored import native_storage
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass

_ROLES: Mapping[TensorClass, Role] = MappingProxyType(
    {
        TensorClass.EMBEDDING: Role.TOKEN_EMBEDDING,
        TensorClass.LOOKUP: Role.TOKEN_EMBEDDING,
        TensorClass.HEAD: Role.OUTPUT,
        TensorClass.NORM: Role.WIDE,
        TensorClass.ROUTER: Role.WIDE,
        # Of attention's matrices that of queries is the largest, with that of the output.
        TensorClass.ATTENTION: Role.QUERY,
        TensorClass.DENSE_FFN: Role.UP,
        TensorClass.SHARED_EXPERT: Role.UP,
        TensorClass.EXPERT: Role.UP,
    }
)
"""The role that most weights of a class have."""

_BY_CLASS = "each class in its main type, for the tensors of this model are not known"


def reduced(name: str, *, is_dense: bool) -> Scheme:
    """Return the scheme of that name as one format a class; its ``approximation`` says so. Raises
    InputError for an unknown name.
    """
    scheme = scheme_named(name).of(is_dense=is_dense)
    if scheme.mix is not None:
        classes = _of_mix(scheme.mix)
    elif scheme.settings is not None:
        classes = _of_settings(scheme)
    else:
        return scheme
    said = f"{scheme.approximation}; {_BY_CLASS}" if scheme.approximation else _BY_CLASS
    return replace(scheme, mix=None, settings=None, classes=classes, approximation=said)


def _of_mix(mix: Mix) -> Mapping[TensorClass, str]:
    classes = {tensor_class: main_type(mix, role) for tensor_class, role in _ROLES.items()}
    expert = main_type(mix, _ROLES[TensorClass.EXPERT], is_expert=True)
    return {**classes, TensorClass.EXPERT: expert}


def _of_settings(scheme: Scheme) -> Mapping[TensorClass, str]:
    storage = native_storage(ConfigKeys({"quantization_config": scheme.settings}, scheme.name))
    samples = [_sample(tensor_class) for tensor_class in TensorClass]
    return {each.tensor_class: storage.packing(each, "").format for each in samples}


def _sample(tensor_class: TensorClass) -> Weight:
    is_linear = tensor_class not in (TensorClass.NORM, TensorClass.ROUTER)
    return Weight(name="", tensor_class=tensor_class, rows=1, is_linear=is_linear)
