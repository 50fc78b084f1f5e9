"""Traces whose prompts are hashes of blocks: Mooncake's and Bailian's.

Mooncake (github.com/kvcache-ai/Mooncake, FAST25-release): blocks of 512 tokens, milliseconds.
Bailian (github.com/alibaba-edu/qwen-bailian-usagetraces-anon): blocks of 16 tokens, seconds.
"""

from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from hwprofiles.units import NS_PER_MS, NS_PER_S
from sim.workload.requests.request import Request, Span, private_content
from sim.workload.requests.row_reader import RowReader
from sim.workload.requests.trace_lines import count_of, json_rows, time_ns_of
from sim.workload.requests.trace_units import TraceUnits

TIME = "timestamp"
HASHES = "hash_ids"
FIELDS = (TIME, "input_length", "output_length", HASHES)
MOONCAKE_BLOCK_TOKENS = 512
BAILIAN_BLOCK_TOKENS = 16
PUBLISHED_BLOCKS: Mapping[int, str] = {
    BAILIAN_BLOCK_TOKENS: "as in Bailian's traces, with times in seconds",
    MOONCAKE_BLOCK_TOKENS: "as in Mooncake's traces, with times in milliseconds",
    32: "",
    64: "",
    128: "",
    256: "",
    1024: "",
}
"""Published sizes of blocks, and whose they are. A message compares a wrong number of hashes with
them.
"""


def read_mooncake(path: Path, units: TraceUnits) -> Iterator[Request]:
    """The requests of a trace, in its order. Raises InputError when it comes to a wrong line.

    Equal hashes stand for equal blocks, since a hash covers all tokens before its block too.
    """
    return _read(path, units.tokens_per_block(MOONCAKE_BLOCK_TOKENS), units.ns_per_time(NS_PER_MS))


def read_bailian(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests as ``read_mooncake`` does. Each line holds its whole prompt, so earlier
    requests of a chat play no part.
    """
    return _read(path, units.tokens_per_block(BAILIAN_BLOCK_TOKENS), units.ns_per_time(NS_PER_S))


def _read(path: Path, block_tokens: int, ns_per_time: int) -> Iterator[Request]:
    reader = RowReader(
        time=TIME,
        time_ns=lambda row, where: time_ns_of(row, TIME, where, ns_per_time),
        prompt=lambda row, number, where: _prompt(row, number, where, block_tokens),
        output="output_length",
        starts_at_zero=False,
    )
    return reader.requests(json_rows(path))


def _prompt(row: Mapping[str, Any], number: int, where: str, block_tokens: int) -> tuple[Span, ...]:
    tokens = count_of(row, "input_length", where)
    # Some published traces leave hashes out; then nothing is known to be shared.
    if HASHES not in row:
        return (Span(content=private_content(number), num_tokens=tokens),)
    hashes = row[HASHES]
    num_blocks = -(-tokens // block_tokens)
    if not isinstance(hashes, list) or len(hashes) != num_blocks:
        raise InputError(_wrong_hashes(hashes, tokens, where, block_tokens))
    # By type, since True is an int for isinstance, and would count as block 1.
    wrong = next((each for each in hashes if type(each) is not int or each < 0), None)
    if wrong is not None:
        raise InputError(f"{where}: {HASHES} must be whole numbers of at least 0, got {wrong!r}")
    lengths = [*repeat(block_tokens, num_blocks - 1), tokens - block_tokens * (num_blocks - 1)]
    return tuple(
        Span(content=content, num_tokens=length)
        for content, length in zip(hashes, lengths, strict=True)
    )


def _wrong_hashes(hashes: Any, tokens: int, where: str, block_tokens: int) -> str:
    """Return the message for a wrong number of hashes, with the size of blocks that it fits."""
    due = f"{HASHES} must list {-(-tokens // block_tokens)} hashes for an input_length of {tokens}"
    if not isinstance(hashes, list):
        return f"{where}: {due}, got {hashes!r}"
    # The number of hashes often fits one published size alone, so the mistake can be named.
    fitting = (size for size in PUBLISHED_BLOCKS if -(-tokens // size) == len(hashes))
    size = next(fitting, None)
    hint = ""
    if size is not None:
        whose = f", {PUBLISHED_BLOCKS[size]}" if PUBLISHED_BLOCKS[size] else ""
        hint = f"; that fits block_tokens {size}{whose}"
    return f"{where}: {due} in blocks of {block_tokens}, got {len(hashes)}{hint}"
