"""Mooncake's traces: prompts as hashes of blocks of 512 tokens (github.com/kvcache-ai/Mooncake, FAST25-release)."""

from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from hwprofiles.units import NS_PER_MS
from sim.requests.request import Request, Span
from sim.requests.trace_lines import count_of, in_order, json_rows, time_ns_of, value_of

BLOCK_TOKENS = 512
"""Tokens of a block; the last block of a prompt may have fewer."""
HASHES = "hash_ids"


def read_mooncake(path: Path) -> Iterator[Request]:
    """The requests of a trace, in its order. Raises InputError, one line with the place, when it comes to a wrong line.

    Equal hashes stand for equal blocks, since a hash covers all tokens before its block too.
    """
    previous_ns = 0
    for number, (where, row) in enumerate(json_rows(path)):
        previous_ns = in_order(time_ns_of(row, "timestamp", where, NS_PER_MS), previous_ns, "timestamp", where)
        output_tokens = count_of(row, "output_length", where)
        yield Request(number=number, arrival_ns=previous_ns, prompt=_prompt(row, where), output_tokens=output_tokens)


def _prompt(row: Mapping[str, Any], where: str) -> tuple[Span, ...]:
    tokens, hashes = count_of(row, "input_length", where), value_of(row, HASHES, where)
    num_blocks = -(-tokens // BLOCK_TOKENS)
    if not isinstance(hashes, list) or len(hashes) != num_blocks:
        got = f"{len(hashes)}" if isinstance(hashes, list) else repr(hashes)
        raise InputError(f"{where}: {HASHES} must list {num_blocks} hashes for an input_length of {tokens}, got {got}")
    wrong = next((each for each in hashes if type(each) is not int or each < 0), None)
    if wrong is not None:
        raise InputError(f"{where}: {HASHES} must be whole numbers of at least 0, got {wrong!r}")
    lengths = [*repeat(BLOCK_TOKENS, num_blocks - 1), tokens - BLOCK_TOKENS * (num_blocks - 1)]
    return tuple(Span(content=content, num_tokens=length) for content, length in zip(hashes, lengths, strict=True))
