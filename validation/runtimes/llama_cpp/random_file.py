"""Write small GGUF files of any Mixture-of-Experts shape, with random weights.

llama.cpp loads and runs them. The times of its kernels depend on shapes and formats, not on values.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFWriter, TokenType

from hwprofiles import InputError
from hwprofiles.text_file import check_target
from validation.runtimes.llama_cpp.random_blocks import (
    CHUNK_BYTES,
    BlockFormat,
    block_format,
    random_blocks,
)

ARCHITECTURE = "qwen3moe"
"""llama.cpp's name of the architecture of all files.

This architecture has grouped-query attention with norms of queries and keys, and experts in every
layer.
"""

NUM_BYTE_TOKENS = 256
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
SMALLEST_VOCAB = len(SPECIAL_TOKENS) + NUM_BYTE_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeShape:
    """The shape of a model with routed experts in every layer and grouped-query attention."""

    name: str
    num_layers: int
    hidden: int
    num_experts: int
    top_k: int
    expert_intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab: int = 4096
    max_context_tokens: int = 4096

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.num_experts:
            raise InputError(
                f"{self.name}: 1 ≤ top_k ≤ num_experts must hold, got {self.top_k} of {self.num_experts}"
            )
        if self.num_heads % self.num_kv_heads:
            raise InputError(
                f"{self.name}: num_kv_heads must divide num_heads, got {self.num_kv_heads} and {self.num_heads}"
            )
        if self.vocab < SMALLEST_VOCAB:
            raise InputError(
                f"{self.name}: vocab must be at least {SMALLEST_VOCAB}, got {self.vocab}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormats:
    """Formats of the routed experts' matrices, and of the rest (None: the experts' format)."""

    experts: str
    dense: str | None = None

    @property
    def name(self) -> str:
        """Both formats in one word."""
        return self.experts if self.dense is None else f"{self.experts}+{self.dense}"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor to write. The first dimension of ``shape`` has the longest stride, as in numpy."""

    name: str
    shape: tuple[int, ...]
    own: BlockFormat
    is_ones: bool = False

    @property
    def num_weights(self) -> int:
        """Number of weights of the tensor."""
        return int(np.prod(self.shape))

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensor in its format."""
        return self.own.num_bytes(self.num_weights)


def file_bytes(shape: MoeShape, formats: WeightFormats) -> int:
    """Bytes of all tensors of such a file."""
    return sum(tensor.num_bytes for tensor in _tensors(shape, formats))


def write_random_gguf(
    shape: MoeShape,
    formats: WeightFormats,
    path: Path,
    *,
    seed: int = 0,
    is_sparse: bool = False,
) -> Path:
    """Write the file and return its path. A sparse file has a header and a hole for its data.

    Raises InputError for a format that is unknown or does not divide the rows, and for a path that
    cannot be written.
    """
    tensors = list(_tensors(shape, formats))
    # Checked before the first write, so that a wrong shape leaves no broken file.
    for tensor in tensors:
        tensor.own.check_row(f"{shape.name}: the row of {tensor.name}", tensor.shape[-1])
    check_target(path)
    writer = GGUFWriter(path, ARCHITECTURE)
    _add_metadata(writer, shape)
    for tensor in tensors:
        writer.add_tensor_info(
            tensor.name,
            tensor.shape,
            # The writer asks for a type, but raw_dtype is the one that counts.
            np.dtype(np.float32),
            tensor.num_bytes,
            raw_dtype=tensor.own.kind,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    # The writer takes data as whole arrays, which a large file has no memory for.
    with path.open("r+b") as file:
        _write_data(file.fileno(), tensors, seed, is_sparse)
    return path


def _write_data(descriptor: int, tensors: list[_Tensor], seed: int, is_sparse: bool) -> None:
    """Append the data of all tensors, each padded to the alignment of the format."""
    generator = np.random.default_rng(seed)
    position = os.lseek(descriptor, 0, os.SEEK_END)
    for tensor in tensors:
        position = _aligned(position)
        os.lseek(descriptor, position, os.SEEK_SET)
        if not is_sparse:
            for chunk in _chunks(tensor, generator):
                os.write(descriptor, chunk)
        position += tensor.num_bytes
    # A sparse file ends in its hole, and has to be as long as its tensors.
    os.ftruncate(descriptor, _aligned(position))


def _aligned(position: int) -> int:
    """Return the next multiple of 32, the alignment of a file that states none."""
    return -(-position // 32) * 32


def _chunks(tensor: _Tensor, generator: np.random.Generator) -> Iterator[bytes]:
    """The data of a tensor, some blocks at a time."""
    if tensor.is_ones:
        yield np.ones(tensor.num_weights, np.float32).tobytes()
        return
    left = tensor.num_weights // tensor.own.block_weights
    at_once = max(1, CHUNK_BYTES // tensor.own.block_bytes)
    while left:
        count = min(left, at_once)
        yield random_blocks(tensor.own, count, generator).tobytes()
        left -= count


def _tensors(shape: MoeShape, formats: WeightFormats) -> Iterator[_Tensor]:
    """All tensors in the order of the file."""
    experts = block_format(formats.experts)
    dense = block_format(formats.dense or formats.experts)
    plain = block_format("f32")
    yield _Tensor("token_embd.weight", (shape.vocab, shape.hidden), dense)
    yield _Tensor("output_norm.weight", (shape.hidden,), plain, is_ones=True)
    yield _Tensor("output.weight", (shape.vocab, shape.hidden), dense)
    for index in range(shape.num_layers):
        for tensor in _layer_tensors(shape, experts, dense, plain):
            yield _Tensor(f"blk.{index}.{tensor.name}", tensor.shape, tensor.own, tensor.is_ones)


def _layer_tensors(
    shape: MoeShape, experts: BlockFormat, dense: BlockFormat, plain: BlockFormat
) -> Iterator[_Tensor]:
    hidden = shape.hidden
    queries = shape.num_heads * shape.head_dim
    keys = shape.num_kv_heads * shape.head_dim
    inner = shape.expert_intermediate
    yield _Tensor("attn_norm.weight", (hidden,), plain, is_ones=True)
    yield _Tensor("attn_q.weight", (queries, hidden), dense)
    yield _Tensor("attn_k.weight", (keys, hidden), dense)
    yield _Tensor("attn_v.weight", (keys, hidden), dense)
    yield _Tensor("attn_output.weight", (hidden, queries), dense)
    yield _Tensor("attn_q_norm.weight", (shape.head_dim,), plain, is_ones=True)
    yield _Tensor("attn_k_norm.weight", (shape.head_dim,), plain, is_ones=True)
    yield _Tensor("ffn_norm.weight", (hidden,), plain, is_ones=True)
    yield _Tensor("ffn_gate_inp.weight", (shape.num_experts, hidden), plain)
    yield _Tensor("ffn_gate_exps.weight", (shape.num_experts, inner, hidden), experts)
    yield _Tensor("ffn_up_exps.weight", (shape.num_experts, inner, hidden), experts)
    yield _Tensor("ffn_down_exps.weight", (shape.num_experts, hidden, inner), experts)


def _add_metadata(writer: GGUFWriter, shape: MoeShape) -> None:
    writer.add_name(shape.name)
    writer.add_context_length(shape.max_context_tokens)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.expert_intermediate)
    writer.add_expert_feed_forward_length(shape.expert_intermediate)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_expert_count(shape.num_experts)
    writer.add_expert_used_count(shape.top_k)
    _add_tokens(writer, shape.vocab)


def _add_tokens(writer: GGUFWriter, vocab: int) -> None:
    """Add a vocabulary of bytes and, up to its size, of words that no text has."""
    count = vocab - SMALLEST_VOCAB
    tokens = [
        *SPECIAL_TOKENS,
        *(f"<0x{byte:02X}>" for byte in range(NUM_BYTE_TOKENS)),
        *(f"▁word{number}" for number in range(count)),
    ]
    kinds = [
        TokenType.UNKNOWN,
        TokenType.CONTROL,
        TokenType.CONTROL,
        *[TokenType.BYTE] * NUM_BYTE_TOKENS,
        *[TokenType.NORMAL] * count,
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(vocab)])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


TOP_K_KEY = f"{ARCHITECTURE}.expert_used_count".encode()


def set_top_k(path: Path, top_k: int) -> None:
    """Change how many experts a token of a written file selects; the weights stay.

    Raises InputError if the file does not state such a number.
    """
    with path.open("r+b") as file:
        # The key comes before the vocabulary, so it is near the start.
        head = file.read(1 << 16)
        at = head.find(TOP_K_KEY)
        if at < 0:
            raise InputError(f"{path}: no key {TOP_K_KEY.decode()} near its start")
        file.seek(at + len(TOP_K_KEY) + 4)  # behind the name stands the type of the value
        file.write(top_k.to_bytes(4, "little"))


def copy_sparse(source: Path, target: Path) -> Path:
    """Copy the header and tensor table of a GGUF file, with a hole of the same size for its
    weights.

    Raises InputError for a target that cannot be written.
    """
    check_target(target)
    start = min(int(tensor.data_offset) for tensor in GGUFReader(source).tensors)
    with source.open("rb") as file:
        header = file.read(start)
    with target.open("wb") as file:
        file.write(header)
        file.truncate(source.stat().st_size)
    return target
