"""The load of one user that a runtime is to serve, and the limits of memory that it may take."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_BYTES, Tokens
from hwprofiles.units import GIB
from sim.costs.host_room import RESERVED_BYTES
from sim.runtimes.arguments import Arguments

MOST_ROUNDS = 100_000
KV_BLOCK_TOKENS = 256
"""llama.cpp makes room for whole blocks of that many tokens."""

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class RuntimeLoad(FilePart):
    """A chat of one user: in each of ``rounds`` a prompt is read and an answer is decoded.

    What was said stays in the KV cache. ``room_tokens`` is what the cache must have room for
    (None: what the chat needs).
    """

    prompt_tokens: Tokens
    output_tokens: Tokens
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 1
    room_tokens: Tokens | None = None

    @property
    def round_tokens(self) -> int:
        """Tokens that one round leaves in the cache."""
        return self.prompt_tokens + self.output_tokens

    @property
    def prompt_context_tokens(self) -> int:
        """Tokens in the cache before a prompt, the mean over the rounds."""
        # The first prompt finds the cache empty, the last one all rounds before it.
        return (self.rounds - 1) * self.round_tokens // 2

    @property
    def decode_context_tokens(self) -> int:
        """Tokens in the cache before a decoded token, the mean over all answers."""
        return self.prompt_context_tokens + self.prompt_tokens + self.output_tokens // 2

    @property
    def cache_tokens(self) -> int:
        """Tokens that the cache has room for, in whole blocks."""
        needed = max(self.rounds * self.round_tokens, self.room_tokens or 0)
        return -(-needed // KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS


def with_room(arguments: Arguments, load: RuntimeLoad) -> Arguments:
    """Return the arguments with room for the load's keys and values where they state none.

    A device map never states any.
    """
    if arguments.context_tokens:
        return arguments
    return replace(arguments, context_tokens=load.cache_tokens)


class RuntimeLimits(FilePart):
    """Memory that a plan leaves alone.

    ``margin_vram_bytes`` of each GPU stay free: the driver takes some of it, and estimates of
    buffers err. The default is what llama.cpp's ``--fit`` keeps (``-fitt 1024``).
    ``reserve_ram_bytes`` of the host belong to the system and other programs, and never less than
    any system takes (RESERVED_BYTES), as prices have it.
    """

    margin_vram_bytes: Bytes = GIB
    reserve_ram_bytes: Bytes = RESERVED_BYTES
