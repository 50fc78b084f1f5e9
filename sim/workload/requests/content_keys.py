"""Names for the blocks of a prompt by what is in them, whatever is before them."""

from sim.workload.requests.request import Span


def content_keys(prompt: tuple[Span, ...], block_tokens: int) -> tuple[int, ...]:
    """Return a key for each full block: key i names tokens i·block_tokens to (i + 1)·block_tokens −
    1.

    Two blocks share a key exactly if their tokens are equal in (content, offset), up to collisions
    of hashes.
    """
    keys: list[int] = []
    parts: list[tuple[int, int, int]] = []
    filled = 0
    for span in prompt:
        start = 0
        while start < span.num_tokens:
            # A block may hold the ends of several spans, so its key is of all their parts.
            taken = min(block_tokens - filled, span.num_tokens - start)
            parts.append((span.content, start, taken))
            start += taken
            filled += taken
            if filled == block_tokens:
                keys.append(hash(tuple(parts)))
                parts = []
                filled = 0
    return tuple(keys)
