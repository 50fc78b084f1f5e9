"""The tensors that a GGUF file has for a weight: their role for the quantiser, and their shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from sim.model.importers.decoder import DecoderLayer
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass


class Role(StrEnum):
    """The role of a tensor, by which a quantiser chooses its type. OTHER is stored in the default
    type, WIDE in 32-bit floats.
    """

    TOKEN_EMBEDDING = "token_embd"
    OUTPUT = "output"
    QUERY = "attn_q"
    KEY = "attn_k"
    VALUE = "attn_v"
    ATTENTION_OUTPUT = "attn_output"
    GATE = "ffn_gate"
    UP = "ffn_up"
    DOWN = "ffn_down"
    OTHER = "other"
    WIDE = "wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """One matrix of a file: ``rows`` of ``columns`` weights. Each row is stored in blocks."""

    role: Role
    tensor_class: TensorClass
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """The shape [columns, rows]: the length of a row first, as GGUF has it."""
        return self.columns, self.rows


_OUTSIDE: Mapping[TensorClass, Role] = MappingProxyType(
    {
        TensorClass.EMBEDDING: Role.TOKEN_EMBEDDING,
        TensorClass.LOOKUP: Role.TOKEN_EMBEDDING,
        TensorClass.HEAD: Role.OUTPUT,
        TensorClass.ROUTER: Role.WIDE,
        TensorClass.NORM: Role.WIDE,
    }
)
_OF_ATTENTION: Mapping[str, Role] = MappingProxyType(
    {
        "q_proj": Role.QUERY,
        "k_proj": Role.KEY,
        "v_proj": Role.VALUE,
        "o_proj": Role.ATTENTION_OUTPUT,
        "o_b_proj": Role.ATTENTION_OUTPUT,
    }
)
_OF_FEED_FORWARD: Mapping[str, Role] = MappingProxyType(
    {
        "gate_proj": Role.GATE,
        "up_proj": Role.UP,
        "down_proj": Role.DOWN,
    }
)
_LATENT_PAIR = "kv_b_proj"


def file_tensors(weight: Weight, block: DecoderLayer | None) -> list[FileTensor]:
    """The tensors that a GGUF file has for that weight; vectors and convolutions are one row."""
    if not weight.is_linear:
        return [_tensor(weight, Role.WIDE, rows=1, columns=weight.num_weights)]
    if block is not None and weight.name.endswith(_LATENT_PAIR):
        return _latent_pair(weight, block)
    return [_tensor(weight, role_of(weight), rows=weight.rows, columns=weight.columns)]


def role_of(weight: Weight) -> Role:
    """The role of the matrix of a linear layer, by its class and the last part of its name."""
    if weight.tensor_class in _OUTSIDE:
        return _OUTSIDE[weight.tensor_class]
    last = weight.name.rsplit(".", 1)[-1]
    is_attention = weight.tensor_class is TensorClass.ATTENTION
    return (_OF_ATTENTION if is_attention else _OF_FEED_FORWARD).get(last, Role.OTHER)


def _tensor(weight: Weight, role: Role, *, rows: int, columns: int) -> FileTensor:
    return FileTensor(
        role=role,
        tensor_class=weight.tensor_class,
        rows=rows,
        columns=columns,
    )


def _latent_pair(weight: Weight, block: DecoderLayer) -> list[FileTensor]:
    """The two tensors of the matrix that makes keys and values from a latent: llama.cpp splits it,
    and transposes the keys' part.
    """
    attention = block.attention
    output = next((each for each in block.weights if each.name.endswith("o_proj")), None)
    if attention is None or output is None:
        return [_tensor(weight, Role.OTHER, rows=weight.rows, columns=weight.columns)]
    heads = attention.num_heads
    values = output.columns
    # A head's rows are its keys and its values; the output projection knows how wide the values
    # are.
    key_dim = weight.rows // heads - values // heads
    return [
        _tensor(weight, Role.OTHER, rows=heads * weight.columns, columns=key_dim),
        _tensor(weight, Role.OTHER, rows=values, columns=weight.columns),
    ]
