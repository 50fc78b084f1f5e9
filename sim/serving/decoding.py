"""The sequences that decode together, with sums that are kept up to date without a visit to each
sequence at each step.
"""

from collections.abc import Sequence as Items
from heapq import heappop, heappush

from sim.serving.prices import AttentionPrice
from sim.serving.sequence import Sequence

Entry = tuple[int, int, int]
"""A step at which something happens to a sequence: the step, the sequence's number, and the number
of its joining.
"""


class DecodingSet:
    """Sequences that each gain one token a step.

    ``num_steps`` counts the steps taken since the set was made. For each attention price,
    ``seen[part]`` sums the tokens that the sequences look at in the next step. ``growing[part]``
    counts the sequences that look at one token more in each step after it.
    """

    def __init__(self, attention: Items[AttentionPrice], block_tokens: int) -> None:
        """Start without a sequence."""
        self._attention = tuple(attention)
        self._block_tokens = block_tokens
        self.num_steps = 0
        self._num_joinings = 0
        self.seen = [0] * len(self._attention)
        self.growing = [0] * len(self._attention)
        self._members: dict[int, Sequence] = {}
        self._ends: list[Entry] = []
        self._full: list[list[Entry]] = [[] for _ in self._attention]
        # Sequences by the place in their last block: a step takes a new block exactly for those
        # whose block is full, so growth needs no visit to each.
        self._by_phase = [0] * block_tokens

    def __len__(self) -> int:
        return len(self._members)

    def tokens_of(self, sequence: Sequence) -> int:
        """Return how many tokens of a member have KV in its blocks."""
        return sequence.joined_tokens + self.num_steps - sequence.joined_step

    def add(self, sequence: Sequence) -> None:
        """Add a sequence of ``computed_tokens`` tokens that has output tokens to come."""
        steps = self.num_steps
        tokens = sequence.computed_tokens
        self._num_joinings += 1
        sequence.joining = self._num_joinings
        sequence.joined_step = steps
        sequence.joined_tokens = tokens
        self._members[sequence.number] = sequence
        # The joining is part of the entry: a sequence that was pre-empted and came back has a new
        # one, and the heap's old entry is passed over.
        heappush(self._ends, (steps + sequence.tokens_left, sequence.number, sequence.joining))
        self._by_phase[(steps - tokens) % self._block_tokens] += 1
        for index, part in enumerate(self._attention):
            self.seen[index] += part.seen(tokens + 1)
            if part.window_tokens is None:
                self.growing[index] += 1
            # Once a window is full, the sequence looks at as many tokens in every step.
            elif tokens + 1 < part.window_tokens:
                self.growing[index] += 1
                heappush(
                    self._full[index],
                    (steps + part.window_tokens - tokens - 1, sequence.number, sequence.joining),
                )

    def remove(self, sequence: Sequence) -> int:
        """Remove a member, count the tokens that it generated, and return how many of its tokens
        have KV.
        """
        tokens = self.tokens_of(sequence)
        del self._members[sequence.number]
        self._by_phase[(sequence.joined_step - sequence.joined_tokens) % self._block_tokens] -= 1
        for index, part in enumerate(self._attention):
            self.seen[index] -= part.seen(tokens + 1)
            self.growing[index] -= part.window_tokens is None or tokens + 1 < part.window_tokens
        sequence.generated_tokens += tokens - sequence.joined_tokens
        sequence.computed_tokens = tokens
        return tokens

    def advance(self, num_steps: int) -> None:
        """Take ``num_steps`` steps, at most ``alike_steps``."""
        # No step of those ends a sequence or fills a window, so the sums grow as a straight line.
        self.num_steps += num_steps
        for index, growing in enumerate(self.growing):
            self.seen[index] += growing * num_steps
        for index, full in enumerate(self._full):
            while full and full[0][0] <= self.num_steps:
                self.growing[index] -= self._is_member(heappop(full))

    def finished(self) -> list[Sequence]:
        """Members whose last token has come out, in the order of their numbers."""
        found = []
        while self._ends and self._ends[0][0] <= self.num_steps:
            entry = heappop(self._ends)
            if self._is_member(entry):
                found.append(self._members[entry[1]])
        return found

    def alike_steps(self) -> int:
        """Return how many steps lie ahead until a sequence ends or fills a window.

        These steps are alike except that each adds the same growth.
        """
        limit = self._next(self._ends)
        assert limit is not None, "somebody decodes"
        for full in self._full:
            filled = self._next(full)
            if filled is not None:
                limit = min(limit, filled)
        return limit

    def growth(self, num_steps: int) -> int:
        """Blocks that the members need beyond those they have, to take that many steps."""
        size = self._block_tokens
        by_phase = self._by_phase
        now = self.num_steps
        # Within a whole block's worth of steps every member takes exactly one block.
        rounds, rest = divmod(num_steps, size)
        return rounds * len(self._members) + sum(
            by_phase[(now + step) % size] for step in range(rest)
        )

    def steps_within(self, num_blocks: int, num_steps: int) -> int:
        """The most steps, up to ``num_steps``, for which ``growth`` is at most ``num_blocks``."""
        if self.growth(num_steps) <= num_blocks:
            return num_steps
        low = 0
        high = num_steps
        # Growth never falls as steps are added, so the last number that fits is found by halving.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.growth(middle) <= num_blocks else (low, middle)
        return low

    def _next(self, entries: list[Entry]) -> int | None:
        # Entries of sequences that have left are dropped when they come to the top: to find them in
        # the heap would take a visit to all.
        while entries and not self._is_member(entries[0]):
            heappop(entries)
        return entries[0][0] - self.num_steps if entries else None

    def _is_member(self, entry: Entry) -> bool:
        sequence = self._members.get(entry[1])
        return sequence is not None and sequence.joining == entry[2]
