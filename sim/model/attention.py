"""The mixers of layers: attention with its caches, or a state in its place."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hwprofiles.file_part import file_part

Positive = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Sizes = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCache:
    """One cache that attention reads, with an entry of ``elements`` for every ``tokens_per_entry``
    tokens.

    The cache keeps the last ``window_tokens`` tokens (None: all). A query looks at the entries of
    ``chosen_tokens`` tokens at most (None: of all that are kept). Each entry costs the query
    2·``pair_elements`` FLOPs. ``is_borrowed`` marks a cache that another layer keeps.
    """

    elements: int
    pair_elements: int
    tokens_per_entry: int = 1
    window_tokens: int | None = None
    chosen_tokens: int | None = None
    is_borrowed: bool = False

    def kept_elements(self, context_tokens: int) -> int:
        """Elements that the layer keeps of a sequence of that many tokens; 0 where another layer
        keeps the cache.
        """
        # Counted in the layer that keeps it: twice would take memory for one cache twice.
        if self.is_borrowed:
            return 0
        kept = context_tokens
        if self.window_tokens is not None:
            kept = min(kept, self.window_tokens)
        # An entry is written once all of its tokens are there; until then the window holds them.
        return kept // self.tokens_per_entry * self.elements

    @property
    def looks_at_tokens(self) -> int | None:
        """The most tokens whose entries a query looks at; None for all."""
        limits = [limit for limit in (self.window_tokens, self.chosen_tokens) if limit is not None]
        return min(limits, default=None)

    def elements_read(self, first: Sizes, end: Sizes) -> Sizes:
        """Elements that a sequence's tokens first … end − 1 read together, each once (float64).

        With ``chosen_tokens`` this is an upper bound, as queries may choose different entries.
        """
        tokens = end - first
        kept = end
        if self.window_tokens is not None:
            # A chunk reads the windows of all its tokens: that of the last, and one token more for
            # each before it.
            kept = np.minimum(kept, float(self.window_tokens) + tokens - 1)
        if self.chosen_tokens is not None:
            # An upper bound: if all queries of a chunk chose different entries, each would be read
            # for one alone.
            kept = np.minimum(kept, float(self.chosen_tokens) * tokens)
        return np.asarray(kept * self.elements / self.tokens_per_entry)

    def pair_elements_per_token(self, first: Sizes, end: Sizes) -> Sizes:
        """Return the ``pair_elements`` that one token looks at, as the mean over the tokens first …
        end − 1.
        """
        limit = self.looks_at_tokens
        seen = (_pairs(end, limit) - _pairs(first, limit)) / (end - first)
        return np.asarray(seen * self.pair_elements / self.tokens_per_entry)


@file_part
class Indexer:
    """The part of sparse attention that chooses: a query attends to the ``top_k`` entries that
    score highest.

    An entry has ``key_elements`` in the indexer's own cache; scoring it costs 2·``score_elements``
    FLOPs a query.
    """

    top_k: Positive
    key_elements: Count
    score_elements: Count


@file_part
class Attention:
    """The geometry of one attention layer, all that its cost and its KV cache depend on.

    ``kv_elements_per_token`` counts the elements of the cache that a token leaves in this layer:
    2·kv_heads·head_dim for grouped-query attention, kv_lora_rank + qk_rope_head_dim for MLA.
    ``window_tokens`` bounds a sliding window. ``score_elements`` and ``value_elements`` are
    num_heads times the dimension over which scores are taken and values are summed. A context of S
    tokens costs 2·S·(score_elements + value_elements) FLOPs a token. ``expanded_elements`` counts
    the keys and values of all heads for one token, where a prompt expands them from a latent cache
    (MLA).

    Compressed attention keeps, besides the window, one entry of ``kv_elements_per_token`` elements
    for every ``tokens_per_entry`` tokens. In sparse attention an ``indexer`` chooses among those
    entries, or among all tokens where nothing is compressed. A layer that keeps no KV of its own
    (``keeps_kv``) reads the cache of an earlier one.
    """

    num_heads: Positive
    kv_elements_per_token: Count
    score_elements: Count
    value_elements: Count
    expanded_elements: Count = 0
    window_tokens: Positive | None = None
    tokens_per_entry: Positive | None = None
    indexer: Indexer | None = None
    keeps_kv: bool = True

    @property
    def caches(self) -> tuple[AttentionCache, ...]:
        """The caches that a query reads: the tokens themselves, compressed entries, and the
        indexer's keys, each where the layer has them.
        """
        ratio = self.tokens_per_entry or 1
        # The indexer chooses entries; all limits here are in tokens, so that they compare with
        # windows.
        chosen_tokens = None if self.indexer is None else self.indexer.top_k * ratio
        found = []
        # Compressed attention has two caches of tokens: the last ones whole, all of them
        # compressed.
        if self.tokens_per_entry is None:
            found.append(self._cache(1, self.window_tokens, chosen_tokens))
        else:
            found += (
                [self._cache(1, self.window_tokens, None)] if self.window_tokens is not None else []
            )
            found.append(self._cache(ratio, None, chosen_tokens))
        if self.indexer is not None:
            # To choose, the indexer scores every entry, however few of them are then attended to.
            keys = self.indexer.key_elements
            scores = self.indexer.score_elements
            found.append(
                AttentionCache(elements=keys, pair_elements=scores, tokens_per_entry=ratio)
            )
        return tuple(found)

    def _cache(
        self, tokens_per_entry: int, window_tokens: int | None, chosen_tokens: int | None
    ) -> AttentionCache:
        return AttentionCache(
            elements=self.kv_elements_per_token,
            pair_elements=self.score_elements + self.value_elements,
            tokens_per_entry=tokens_per_entry,
            window_tokens=window_tokens,
            chosen_tokens=chosen_tokens,
            is_borrowed=not self.keeps_kv,
        )

    @property
    def is_plain(self) -> bool:
        """Whether a query looks at all tokens, or at those of a window: nothing is compressed,
        chosen or borrowed.
        """
        return self.tokens_per_entry is None and self.indexer is None and self.keeps_kv


@file_part
class State:
    """Data of constant size that a layer keeps of a sequence: a recurrent state, a convolution's
    last inputs, or both.

    Every token updates and reads ``elements`` (0 in a short convolution); a sequence takes
    ``bytes``.
    """

    elements: Count
    bytes: Count


def _pairs(length: Sizes, limit: int | None) -> Sizes:
    """The number of query-key pairs of a causal sequence of that length.

    A query sees itself and the tokens before it, ``limit`` tokens at most (None: all).
    """
    inside = length if limit is None else np.minimum(length, float(limit))
    # Up to the limit each query sees one token more than the last; beyond it all see as many.
    return np.asarray(inside * (inside + 1) / 2 + (length - inside) * inside)
