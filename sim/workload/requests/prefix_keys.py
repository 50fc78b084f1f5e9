"""Names for the prefixes of a prompt: one key for each full block. Keys are equal if all tokens
from the first on are.
"""

from sim.workload.requests.request import Span


def prefix_keys(prompt: tuple[Span, ...], block_tokens: int) -> tuple[int, ...]:
    """Return a key for each full block: key i names the first (i + 1)·block_tokens tokens.

    Two prompts share key i exactly if those tokens are equal in (content, offset), wherever blocks
    cut the spans. Keys are hashes of 62 bits and may collide: about 1 chance in 50,000 for ten
    million keys. The hash of a tuple of integers depends on no seed: a key is the same in every
    process.
    """
    keys: list[int] = []
    chain = before = 0
    for span in prompt:
        content = span.content
        tokens = span.num_tokens
        # Where the block that the span before left open ends inside this span.
        first = block_tokens - before % block_tokens
        # A key depends on what is before the span, which content it is, and how far into it the
        # block ends: so no token is visited, and a prompt of a million tokens takes only as many
        # hashes as it has blocks.
        keys += [
            hash((chain, content, inside)) for inside in range(first, tokens + 1, block_tokens)
        ]
        chain = hash((chain, content, tokens))
        before += tokens
    return tuple(keys)
