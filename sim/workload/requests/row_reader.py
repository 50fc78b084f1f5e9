"""Requests from the rows of a trace that is in order of time: each format says how a row is read."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sim.workload.requests.request import Request, Span
from sim.workload.requests.trace_lines import answer_of, count_of, in_order

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReader:
    """How the rows of a format are read.

    ``time_ns`` reads the time of a row at a place (None: it is that of the row before), which
    stands under the key ``time``. ``prompt`` reads the prompt of a row; it also takes the request's
    number and the place. ``output`` is the key of the answer's tokens (None: no key says it, and
    each answer counts as one token). ``starts_at_zero`` says whether times count from the first
    row.
    """

    time: str
    time_ns: Callable[[Row, str], int | None]
    prompt: Callable[[Row, int, str], tuple[Span, ...]]
    output: str | None
    starts_at_zero: bool = True

    def requests(self, rows: Iterable[tuple[str, Row]]) -> Iterator[Request]:
        """A request for each row with its place, in their order. Raises InputError when it comes to
        a wrong row, or to one that is earlier than the row before.
        """
        start_ns: int | None = None
        previous_ns = 0
        for number, (where, row) in enumerate(rows):
            time_ns = self.time_ns(row, where)
            if time_ns is not None:
                # Rows are not sorted here: a trace is read as it is asked for, never held whole.
                previous_ns = in_order(time_ns, previous_ns, self.time, where)
            if start_ns is None:
                start_ns = previous_ns if self.starts_at_zero else 0
            # Lengths of answers before prompts, which are the most to read.
            output_tokens = 1 if self.output is None else answer_of(row, self.output, where)
            yield Request(
                number=number,
                arrival_ns=previous_ns - start_ns,
                prompt=self.prompt(row, number, where),
                output_tokens=output_tokens,
            )


def own_content(key: str) -> Callable[[Row, int, str], tuple[Span, ...]]:
    """Return a reader of prompts of which only the length is known, under ``key``. Each prompt has
    content of its own, so no cache holds any of it.
    """
    return lambda row, number, where: (Span(content=number, num_tokens=count_of(row, key, where)),)
