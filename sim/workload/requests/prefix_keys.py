"""Names for the prefixes of a prompt: one key for each full block, equal for equal tokens from the
first one on.
"""

from sim.workload.requests.request import Span


def prefix_keys(prompt: tuple[Span, ...], block_tokens: int) -> tuple[int, ...]:
    """Key i names the first (i + 1)·block_tokens tokens; a last block that is not full has none.

    Two prompts share key i exactly if those tokens are equal in (content, offset), whatever spans
    the prompts are cut into by the size of a block. (Up to collisions of 62-bit hashes: about 1
    chance in 50,000 for ten million keys.) The hash of a tuple of integers depends on no seed: a
    key is the same in every process.
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
