"""The request file ``rosin-requests/1``: a generator with its parameters, or a trace and how to run
it.
"""

from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from hwprofiles import InputError
from hwprofiles.file_part import FilePart
from hwprofiles.limits import (
    MAX_REQUESTS,
    MAX_SEQUENCES,
    RequestsPerSecond,
    Tokens,
)
from hwprofiles.quantity import SourceDate, SourceText
from sim.workload.requests.arrivals import (
    at_speed,
    even_arrivals_ns,
    gamma_arrivals_ns,
    poisson_arrivals_ns,
    with_arrivals,
)
from sim.workload.requests.multi_round import MultiRound
from sim.workload.requests.request import Request, Span
from sim.workload.requests.trace_file import read_trace, says_what_is_shared, trace_notes
from sim.workload.requests.trace_units import AS_FORMAT, TraceUnits

FORMAT: Literal["rosin-requests/1"] = "rosin-requests/1"
Shape = Annotated[float, Field(ge=1e-3, le=1e6)]
Speed = Annotated[float, Field(ge=1e-9, le=1e9)]

PROCESS_KEYS: Mapping[str, frozenset[str]] = {
    "poisson": frozenset({"requests_per_s"}),
    "gamma": frozenset({"requests_per_s", "shape"}),
    "even": frozenset({"requests_per_s"}),
    "closed": frozenset({"in_flight"}),
    "trace": frozenset(),
}
"""The keys that each process of arrivals needs."""
ARRIVAL_KEYS = ("requests_per_s", "shape", "in_flight", "speed")
InFlight = Annotated[int, Field(ge=1, le=MAX_SEQUENCES, strict=True)]


class LengthsSpec(FilePart):
    """Requests that are all of one size and have nothing in common."""

    prompt_tokens: Tokens
    output_tokens: Tokens


class ArrivalsSpec(FilePart):
    """When requests arrive: at the rate of a process, or as in the trace, ``speed`` times as fast.

    ``shape`` is of the gamma process: 1 would be Poisson, less comes in bursts. A closed loop keeps
    ``in_flight`` requests under way: each answer lets the next request in.
    """

    process: Literal["poisson", "gamma", "even", "closed", "trace"]
    requests_per_s: RequestsPerSecond | None = None
    shape: Shape | None = None
    in_flight: InFlight | None = None
    speed: Speed | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        needed = PROCESS_KEYS[self.process]
        allowed = needed | ({"speed"} if self.process == "trace" else set())
        stated = {name for name in ARRIVAL_KEYS if getattr(self, name) is not None}
        # Sorted, so that the same file is always refused for the same key.
        for name in sorted(needed - stated):
            raise ValueError(f"process {self.process} needs the key {name}")
        for name in sorted(stated - allowed):
            raise ValueError(f"process {self.process} does not take the key {name}")
        return self

    def apply(self, requests: Iterator[Request], seed: int) -> Iterator[Request]:
        """Return the requests at the times of the process. Those of a closed loop stay as they are,
        since answers say when each is let in.
        """
        if self.process == "closed":
            return requests
        if self.process == "trace":
            return requests if self.speed is None else at_speed(requests, self.speed)
        assert self.requests_per_s is not None
        if self.process == "even":
            return with_arrivals(requests, even_arrivals_ns(self.requests_per_s))
        # Arrivals have a generator of their own: they stay the same whatever else draws numbers.
        generator = np.random.default_rng(seed)
        if self.process == "poisson":
            return with_arrivals(requests, poisson_arrivals_ns(self.requests_per_s, generator))
        assert self.shape is not None
        return with_arrivals(
            requests, gamma_arrivals_ns(self.requests_per_s, self.shape, generator)
        )


class RequestsSpec(FilePart):
    """A request file. Exactly one of ``multi_round``, ``lengths`` and ``trace`` is given; a trace's
    path is relative to the file.

    ``num_requests`` is the number of requests, those of a warm-up included. A trace may leave it
    out and is then run whole. ``trace_units`` state what the trace's numbers count in, where that
    is not what its format says.
    """

    format: Literal["rosin-requests/1"] = FORMAT
    name: Annotated[str, Field(min_length=1)]
    source: SourceText
    date: SourceDate
    num_requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS, strict=True)] | None = None
    multi_round: MultiRound | None = None
    lengths: LengthsSpec | None = None
    trace: Path | None = None
    trace_units: TraceUnits = AS_FORMAT
    arrivals: ArrivalsSpec | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        given = [
            name for name in ("multi_round", "lengths", "trace") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of the keys multi_round, lengths and trace must be given, got {', '.join(given) or 'none'}"
            )
        if self.num_requests is None and self.trace is None:
            raise ValueError(f"{given[0]} needs the key num_requests")
        if self.multi_round is not None and self.arrivals is not None:
            raise ValueError("multi_round has its own timing: leave the key arrivals out")
        if self.trace is None and self.trace_units.stated:
            raise ValueError("trace_units needs the key trace")
        if self.lengths is not None and (self.arrivals is None or self.arrivals.process == "trace"):
            raise ValueError("lengths needs the key arrivals, with a process of its own")
        return self

    @property
    def num_warmup_requests(self) -> int:
        """How many of the first requests only warm caches up."""
        return 0 if self.multi_round is None else self.multi_round.num_warmup_users

    @property
    def says_what_is_shared(self) -> bool:
        """Whether it is known what prompts have in common. If not, no prompt finds anything in a
        cache.
        """
        return self.multi_round is not None or (
            self.trace is not None and says_what_is_shared(self.trace)
        )

    @property
    def num_in_flight(self) -> int | None:
        """How many requests a closed loop keeps under way; None where requests come at times of
        their own.
        """
        return None if self.arrivals is None else self.arrivals.in_flight

    def always(self, in_flight: int) -> Self:
        """Return these requests in a closed loop of ``in_flight``, whatever their times were.

        Raises InputError where rounds have their own timing, and for a number out of range.
        """
        if self.multi_round is not None:
            raise InputError(
                f"{self.name}: multi_round has its own timing, so it cannot be a closed loop of {in_flight} requests"
            )
        if not 1 <= in_flight <= MAX_SEQUENCES:
            raise InputError(
                f"a closed loop keeps 1 to {MAX_SEQUENCES:,} requests in flight, got {in_flight}"
            )
        return self.model_copy(
            update={"arrivals": ArrivalsSpec(process="closed", in_flight=in_flight)}
        )

    def requests(self, seed: int = 0) -> Iterator[Request]:
        """The requests in order of arrival; the same seed gives the same.

        Raises InputError when it comes to a wrong line of a trace.
        """
        # Cut after arrivals are given: they have no end either.
        made = self._made()
        return islice(
            made if self.arrivals is None else self.arrivals.apply(made, seed), self.num_requests
        )

    def notes(self, num_requests: int | None = None) -> tuple[str, ...]:
        """Return notes on what of a trace is ignored or left out. The trace is read once more for
        them. Raises InputError at a wrong line.

        ``num_requests`` takes the place of the file's.
        """
        if self.trace is None:
            return ()
        most = self.num_requests if num_requests is None else num_requests
        return tuple(trace_notes(self.trace, self.trace_units, most))

    def _made(self) -> Iterator[Request]:
        if self.multi_round is not None:
            return self.multi_round.requests()
        if self.trace is not None:
            return read_trace(self.trace, self.trace_units)
        assert self.lengths is not None
        return _equal(self.lengths)


def _equal(lengths: LengthsSpec) -> Iterator[Request]:
    for number, _ in enumerate(repeat(None)):
        prompt = (Span(content=number, num_tokens=lengths.prompt_tokens),)
        yield Request(
            number=number, arrival_ns=0, prompt=prompt, output_tokens=lengths.output_tokens
        )
