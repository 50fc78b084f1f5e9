"""The largest values that a model configuration may state: far above any public model.

A count above its limit is an error before anything is made of it.
"""

import re

MAX_LAYERS = 4_096
"""The most layers of a decoder; the deepest public ones have 126 (Llama 3.1 405B)."""

MAX_EXPERTS = 65_536
"""The most experts of a layer; the most in a public model are 512."""

MAX_VOCABULARY = 2**24
"""The most tokens of a vocabulary; the largest public ones have 262,144 (Gemma)."""

MAX_CONTEXT = 2**31
"""The most tokens of a context; the longest public ones have 10 million (Llama 4 Scout)."""

MAX_WIDTH = 2**20
"""The most of any other count, such as widths, heads and ranks; the widest public layer has 53,248
(Llama 3.1 405B).
"""

_LIMITS = (
    (re.compile(r"num_(hidden_)?layers|n_layers?|num_nextn_predict_layers"), MAX_LAYERS),
    (re.compile(r".*experts.*"), MAX_EXPERTS),
    (re.compile(r".*vocab.*"), MAX_VOCABULARY),
    (re.compile(r"max_.*|.*window.*|.*chunk_size|.*seq_len.*"), MAX_CONTEXT),
)


def largest(name: str) -> int:
    """The largest value that the key of that name may have."""
    # The first that fits: "num_experts_per_tok" and the like count experts, whatever else is in the
    # name.
    for pattern, limit in _LIMITS:
        if pattern.fullmatch(name):
            return limit
    return MAX_WIDTH
