"""What a user sends to a serving engine: a prompt made of pieces of content, and how long its
answer is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PRIVATE = 0x5851F42D4C957F2D
_CONTENT_BITS = 2**61 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The first ``num_tokens`` tokens (at least 1) of one piece of content: equal (content, offset)
    means equal tokens.

    ``content`` is an identity of at least 0: a hash of a trace, or a number drawn by a generator.
    """

    content: int
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``number`` counts from 0 in order of arrival; ``prompt`` runs from the first
    token on.

    ``answer`` is the content of the answer's tokens, so that a later prompt can contain them (None:
    none does). ``session`` is the number of the user or conversation that the request belongs to.
    """

    number: int
    arrival_ns: int
    prompt: tuple[Span, ...]
    output_tokens: int
    answer: int | None = None
    session: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return sum(span.num_tokens for span in self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """When a request came, in ns, and how long its prompt and its answer are; 0 output tokens: it
    failed.
    """

    time_ns: int
    prompt_tokens: int
    output_tokens: int


def from_lengths(found: Iterable[Lengths]) -> Iterator[Request]:
    """The requests in order of arrival, the first at time 0; equal times keep their order.

    Each prompt is its own content.
    """
    # Benchmarks write requests in the order in which they ended.
    in_order = sorted(found, key=lambda each: each.time_ns)
    for number, each in enumerate(in_order):
        yield Request(
            number=number,
            arrival_ns=each.time_ns - in_order[0].time_ns,
            prompt=(Span(content=number, num_tokens=each.prompt_tokens),),
            output_tokens=each.output_tokens,
        )


def private_content(number: int) -> int:
    """Return an identity for content that only the request of that number has. It has 61 bits, so
    as to differ from the hashes of traces and from small numbers.
    """
    # Masked, since contents are never negative.
    return hash((_PRIVATE, number)) & _CONTENT_BITS
