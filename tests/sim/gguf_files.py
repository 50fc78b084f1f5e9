"""Small GGUF files written by hand: any header, right or wrong, and what an independent count makes
of it.
"""

import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

STORED = {
    0: (1, 4, 0),
    1: (1, 2, 0),
    2: (32, 18, 0),
    3: (32, 20, 0),
    8: (32, 34, 0),
    12: (256, 144, 0),
    14: (256, 210, 0),
    30: (1, 2, 0),
    39: (32, 17, 0),
    139: (256, 144, 0),
    144: (256, 136, 4),
    152: (256, 168, 4),
    156: (256, 102, 2),
    212: (256, 144, 0),
    344: (256, 136, 4),
}
"""By type number: weights of a block, its bytes, and bytes that each row has besides.

Written down here anew, from ggml.c.
"""

Value = int | float | bool | str | Sequence[Any]


@dataclass(frozen=True)
class TableRow:
    """A row of the table: name, shape (contiguous dimension first), type and, where it is not the
    right one, offset.
    """

    name: str
    shape: tuple[int, ...]
    kind: int = 0
    offset: int | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes by the independent table above."""
        block, size, row = STORED[self.kind]
        return prod(self.shape[1:]) * (self.shape[0] // block * size + row)


@dataclass(frozen=True)
class MadeFile:
    """What goes into a file; counts may be made to lie."""

    metadata: Mapping[str, Value]
    rows: tuple[TableRow, ...]
    version: int = 3
    num_tensors: int | None = None
    num_keys: int | None = None
    raw_values: Mapping[str, bytes] = field(default_factory=dict)

    def content(self) -> bytes:
        """The bytes of the header, without data."""
        num_tensors = len(self.rows) if self.num_tensors is None else self.num_tensors
        num_keys = (
            len(self.metadata) + len(self.raw_values) if self.num_keys is None else self.num_keys
        )
        parts = [b"GGUF", struct.pack("<IQQ", self.version, num_tensors % 2**64, num_keys % 2**64)]
        parts += [_text(name) + _value(value) for name, value in self.metadata.items()]
        parts += [_text(name) + raw for name, raw in self.raw_values.items()]
        at = 0
        for row in self.rows:
            offset = at if row.offset is None else row.offset
            head = struct.pack(
                f"<I{len(row.shape)}QIQ", len(row.shape), *row.shape, row.kind, offset % 2**64
            )
            parts.append(_text(row.name) + head)
            at += -(-row.num_bytes // 32) * 32 if row.kind in STORED and row.shape else 0
        return b"".join(parts)


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value) if 0 <= value < 2**32 else struct.pack("<Iq", 11, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<I", 9) + _items(value)


def _items(values: Sequence[Any]) -> bytes:
    if values and isinstance(values[0], str):
        return struct.pack("<IQ", 8, len(values)) + b"".join(_text(value) for value in values)
    if values and isinstance(values[0], bool):
        return struct.pack(f"<IQ{len(values)}?", 7, len(values), *values)
    return struct.pack(f"<IQ{len(values)}i", 5, len(values), *values)


ARCHITECTURES = (
    "llama",
    "qwen3moe",
    "deepseek2",
    "deepseek4",
    "lfm2moe",
    "nemotron_h_moe",
    "gemma3",
    "gpt-oss",
    "jamba",
    "newmoe",
)
HIDDEN = 256


def random_file(generator: random.Random) -> MadeFile:
    """A right file: some architecture, layers of any kind, arrays where a key may have one, types
    of both runtimes.
    """
    arch = generator.choice(ARCHITECTURES)
    num_layers, num_experts = generator.randint(1, 5), generator.choice([2, 4, 8])
    kinds = [
        generator.choice(["attention", "attention", "state", "convolution", "none"])
        for _ in range(num_layers)
    ]
    ffns = [
        generator.choice(["dense", "experts", "experts", "both", "none"]) for _ in range(num_layers)
    ]
    predicting = generator.choice([0, 0, 0, 1])
    keys: dict[str, Value] = {
        "block_count": num_layers + predicting,
        "context_length": 4096,
        "embedding_length": HIDDEN,
        "feed_forward_length": 256,
        "attention.head_count": generator.choice([4, [4] * (num_layers + predicting)]),
        "attention.head_count_kv": [
            2 if kind == "attention" else 0 for kind in [*kinds, *(["attention"] * predicting)]
        ],
        "expert_count": num_experts,
        "expert_used_count": generator.randint(1, 2),
        "ssm.inner_size": 512,
        "ssm.state_size": 16,
        "ssm.conv_kernel": 4,
        "ssm.group_count": generator.choice([1, 2]),
        "shortconv.l_cache": 3,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": 32,
    }
    if predicting:
        keys["nextn_predict_layers"] = 1
    keys |= _some(
        generator,
        {
            "attention.key_length": 64,
            "attention.value_length": 32,
            "expert_feed_forward_length": 256,
        },
    )
    keys |= _some(
        generator,
        {
            "attention.sliding_window": 512,
            "attention.sliding_window_pattern": generator.choice([2, [True] * 6]),
        },
    )
    if arch == "deepseek4":
        keys |= {"attention.compress_ratios": [generator.choice([0, 4, 128]) for _ in range(6)]}
        keys |= {
            "attention.indexer.head_count": 2,
            "attention.indexer.key_length": 16,
            "attention.indexer.top_k": 64,
        }
    if arch == "deepseek2":
        keys |= {"attention.kv_lora_rank": 128}
    rows = [
        _row(generator, "token_embd.weight", (HIDDEN, 1000)),
        TableRow("output_norm.weight", (HIDDEN,)),
    ]
    rows += [_row(generator, "output.weight", (HIDDEN, 1000))] if generator.random() < 0.7 else []
    rows += (
        [_row(generator, "per_layer_token_embd.weight", (HIDDEN, 1000))]
        if generator.random() < 0.2
        else []
    )
    for index, (kind, ffn) in enumerate(
        zip([*kinds, *["attention"] * predicting], [*ffns, *["dense"] * predicting], strict=True)
    ):
        rows += _layer_rows(generator, f"blk.{index}.", kind, ffn, num_experts)
    metadata: dict[str, Value] = {"general.architecture": arch, "general.name": "made"}
    metadata |= {f"{arch}.{name}": value for name, value in keys.items()}
    metadata |= {
        "tokenizer.ggml.tokens": [f"t{index}" for index in range(generator.choice([1, 50]))]
    }
    return MadeFile(metadata=metadata, rows=tuple(rows))


def _some(generator: random.Random, keys: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in keys.items() if generator.random() < 0.5}


def _row(generator: random.Random, name: str, shape: tuple[int, ...]) -> TableRow:
    return TableRow(name, shape, generator.choice(list(STORED)))


def _layer_rows(
    generator: random.Random, block: str, kind: str, ffn: str, num_experts: int
) -> list[TableRow]:
    rows = [TableRow(f"{block}attn_norm.weight", (HIDDEN,))]
    names = {
        "attention": ["attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"],
        "state": ["ssm_in.weight", "ssm_out.weight"],
        "convolution": ["shortconv.in_proj.weight", "shortconv.out_proj.weight"],
        "none": [],
    }[kind]
    rows += [_row(generator, block + name, (HIDDEN, generator.choice([64, 256]))) for name in names]
    if ffn in ("dense", "both"):
        rows += [
            _row(generator, f"{block}ffn_{name}.weight", (HIDDEN, 256))
            for name in ("gate", "up", "down")
        ]
    if ffn in ("experts", "both"):
        rows.append(TableRow(f"{block}ffn_gate_inp.weight", (HIDDEN, num_experts)))
        rows += [
            _row(generator, f"{block}ffn_{name}_exps.weight", (256, 256, num_experts))
            for name in ("gate", "up", "down")
        ]
    return rows


_BAD_NUMBERS = (-1, -64, 0, 1, 31, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def broken_file(generator: random.Random) -> MadeFile:
    """A right file with one thing changed: a key, a row or a count."""
    made = random_file(generator)
    rows, metadata = list(made.rows), dict(made.metadata)
    at, key = generator.randrange(len(rows)), generator.choice(sorted(metadata))
    number = generator.choice(_BAD_NUMBERS)
    change = generator.randrange(10)
    if change == 0:
        del metadata[key]
    elif change == 1:
        metadata[key] = generator.choice([number % 2**63, "text", 1.5, True, [], [0, 1], ["a"]])
    elif change == 2:
        del rows[at]
    elif change == 3:
        rows[at] = replace(rows[at], offset=number)
    elif change == 4:
        rows[at] = replace(rows[at], kind=generator.choice([3, 4, 37, 60, 142, 999, 2**31]))
    elif change == 5:
        rows[at] = replace(
            rows[at],
            shape=tuple(
                generator.choice([0, 1, 7, 2**20, 2**40, 2**63])
                for _ in range(generator.randint(0, 5))
            ),
        )
    elif change == 6:
        return replace(made, **{generator.choice(["num_tensors", "num_keys"]): number})
    elif change == 7:
        kind, count = generator.choice([0, 4, 8, 9, 77]), number % 2**64
        return replace(made, raw_values={"tokenizer.x": struct.pack("<IIQ", 9, kind, count)})
    elif change == 8:
        name = generator.choice(
            ["attention.new_trick", "ssm.new", "shortconv.new", "attention.indexer.new", "kda.new"]
        )
        metadata[f"{metadata['general.architecture']}.{name}"] = 3
    else:
        rows.append(
            replace(
                rows[at],
                name=generator.choice(
                    [rows[at].name, "blk.99.attn_q.weight", "blk.0.strange\x00", "new.weight"]
                ),
            )
        )
    return replace(made, metadata=metadata, rows=tuple(rows))


def mangled(generator: random.Random, content: bytes) -> bytes:
    """The bytes cut somewhere, or with some of them changed."""
    if generator.random() < 0.4:
        return content[: generator.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)
