"""The type of every tensor of a decoder under a mix, and the bytes that follow."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from sim.model.importers.decoder import Decoder, DecoderLayer
from sim.model.importers.schemes.llama_cpp import CONDITIONS, FALLBACKS
from sim.model.importers.schemes.scheme import Mix, Position, Traits
from sim.model.importers.schemes.tensors import FileTensor, Role, file_tensors, role_of
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass
from sim.model.storage_types import STORAGE_TYPES, StorageType

Placed = tuple[FileTensor, Position]

Sizes = Counter[tuple[TensorClass, str]]
"""Bytes by class and type; of EXPERT, those of one expert."""

_TYPES = {kind.name: kind for kind in STORAGE_TYPES.values()}
_SEVENTY_LAYERS = 80
_SEVENTY = frozenset({"llama", "qwen2"})


def sizes_by_layer(
    decoder: Decoder, mix: Mix, family: str, expert_type: str | None = None
) -> tuple[list[Sizes], Sizes]:
    """Return the bytes of each layer, and of the weights outside the layers. Experts are in
    ``expert_type``, if it is given.
    """
    traits = replace(_traits(decoder, family), expert_type=expert_type)
    before: Counter[Role] = Counter()
    layers = []
    for index, block in enumerate(decoder.blocks):
        layers.append(_sizes(_placed(block.weights, block, index, before), mix, traits))
    # With a count of its own: no rule counts embedding and head among a layer's tensors.
    outside = _placed(decoder.top, None, 0, Counter())
    return layers, _sizes(outside, mix, traits)


def main_type(mix: Mix, role: Role, *, is_expert: bool = False) -> str:
    """The type of most tensors of a role: of its rule without a condition, else the default."""
    rules = (*mix.expert, *mix.rules) if is_expert else mix.rules
    plain = (rule.type_name for rule in rules if rule.role is role and rule.condition == "always")
    return "f32" if role is Role.WIDE else next(plain, mix.default)


def _placed(
    weights: Iterable[Weight],
    block: DecoderLayer | None,
    index: int,
    before: Counter[Role],
) -> Iterator[Placed]:
    for weight in weights:
        for tensor in file_tensors(weight, block):
            yield tensor, Position(layer=index, before=before[tensor.role])
            # Counted after it is given out: rules ask how many came before.
            before[tensor.role] += 1


def _sizes(placed: Iterable[Placed], mix: Mix, traits: Traits) -> Sizes:
    found: Sizes = Counter()
    for tensor, position in placed:
        kind = _type_of(tensor, position, mix, traits)
        found[tensor.tensor_class, kind.name] += kind.size(tensor.shape)
    return found


def _type_of(tensor: FileTensor, position: Position, mix: Mix, traits: Traits) -> StorageType:
    if tensor.role is Role.WIDE:
        return _TYPES["f32"]
    rules = mix.rules
    if tensor.tensor_class is TensorClass.EXPERT:
        if traits.expert_type is not None:
            return _TYPES[traits.expert_type]
        rules = (*mix.expert, *mix.rules)
    own = (rule for rule in rules if rule.role is tensor.role)
    held = (rule.type_name for rule in own if CONDITIONS[rule.condition](traits, position))
    chosen = next(held, mix.default)
    heads = {Role.OUTPUT, Role.TOKEN_EMBEDDING} if traits.is_head_tied else {Role.OUTPUT}
    return _fitting(tensor, chosen, is_head=tensor.role in heads)


def _fitting(tensor: FileTensor, name: str, *, is_head: bool) -> StorageType:
    """Return the type of that name, or what stands in for it where rows do not divide into its
    blocks.
    """
    if tensor.columns % _TYPES[name].block == 0:
        return _TYPES[name]
    # Interleaved rows fall back as the type that they interleave.
    plain = name.removesuffix("_r4").removesuffix("_r8")
    # llama.cpp takes q8_0 at once for a head whose rows do not divide
    other = "q8_0" if is_head else FALLBACKS.get(plain, "f16")
    # The type that stands in has blocks too, of 32 where the first had 256.
    return _TYPES[other if tensor.columns % _TYPES[other].block == 0 else "f16"]


def _traits(decoder: Decoder, family: str) -> Traits:
    num_layers = len(decoder.blocks)
    num_experts = max(block.num_experts for block in decoder.blocks)
    num_values = 0
    for block in decoder.blocks:
        roles = [role_of(weight) for weight in block.weights if weight.is_linear]
        num_values += roles.count(Role.VALUE)
    return Traits(
        num_layers=num_layers,
        num_values=num_values,
        num_experts=num_experts,
        query_group=_query_group(decoder),
        is_head_tied=decoder.is_head_tied,
        is_seventy=family in _SEVENTY and num_layers == _SEVENTY_LAYERS and not num_experts,
    )


def _query_group(decoder: Decoder) -> float:
    """Query heads for each key head in the first layer with attention; latent attention has one
    key.
    """
    for block in decoder.blocks:
        if block.attention is None:
            continue
        keys = [weight for weight in block.weights if _is_key(weight)]
        return block.attention.score_elements / keys[0].rows if keys else block.attention.num_heads
    return 1


def _is_key(weight: Weight) -> bool:
    return weight.is_linear and role_of(weight) is Role.KEY
