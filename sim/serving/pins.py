"""Prefixes that no tier lets go of, such as a system prompt that many requests share."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_REQUESTS, Tokens
from sim.serving.tier import KvTier


class Pin(FilePart):
    """A pinned prefix: the full chunks of the first ``tokens`` of one request's prompt.

    ``request`` is the number of that request. The chunks are pinned from its admission on.
    """

    request: Annotated[int, Field(ge=0, le=MAX_REQUESTS, strict=True)] = 0
    tokens: Tokens


class PinnedChunks:
    """The chunks that every tier of a run keeps once it holds them."""

    def __init__(self, pins: Iterable[Pin], chunk_tokens: int) -> None:
        self._num_chunks = {pin.request: pin.tokens // chunk_tokens for pin in pins}
        self._keys: set[int] = set()
        self._tiers: list[KvTier] = []

    def watch(self, tier: KvTier) -> None:
        """Let a tier keep the pinned chunks."""
        # The set itself, not a copy: chunks that are pinned later count for this tier too.
        tier.pinned_keys = self._keys
        self._tiers.append(tier)

    def admitted(self, number: int, chunk_keys: Sequence[int]) -> None:
        """Pin the chunks that are stated of an admitted request's prompt, in every tier that holds
        them or comes to hold them.
        """
        fresh = [
            # Popped, since a request that is admitted again after a pre-emption pins nothing new.
            key
            for key in chunk_keys[: self._num_chunks.pop(number, 0)]
            if key not in self._keys
        ]
        self._keys.update(fresh)
        for tier in self._tiers:
            for key in fresh:
                if key in tier.store:
                    tier.store.pin(key)
