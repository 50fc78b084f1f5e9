"""Sources of requests: at times of their own (open loop), or each after an answer (closed loop)."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Protocol

import simpy

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.workload.requests.multi_round import Conversation
from sim.workload.requests.request import Request
from sim.workload.requests.spec import RequestsSpec

Process = Generator[simpy.Event, Any, None]


class FrontDoor(Protocol):
    """The part of a run that a source uses."""

    @property
    def env(self) -> simpy.Environment:
        """The SimPy environment whose clock gives the times of arrival."""

    def submit(self, request: Request) -> simpy.Event:
        """Submit a request now, and return the event of its answer.

        For a request that is turned away, the event happens at once with the value False.
        """


class Source(Protocol):
    """A source of requests, submitted in the order of their numbers.

    The first ``num_warmup_requests`` only fill caches: no figure counts them.
    """

    @property
    def num_warmup_requests(self) -> int:
        """The number of first requests that are not counted."""

    def feed(self, door: FrontDoor) -> Process:
        """Submit the requests; the process ends when none is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests at the times that they state, answered or not."""

    requests: Iterator[Request]
    num_warmup_requests: int = 0

    def feed(self, door: FrontDoor) -> Process:
        """Submit each request at its time. Raises InputError for a request that arrives before the
        one ahead of it.
        """
        env = door.env
        for request in self.requests:
            wait = request.arrival_ns - int(env.now)
            if wait < 0:
                raise InputError(
                    f"request {request.number} arrives at {request.arrival_ns / NS_PER_S:g} s, before the one ahead of it"
                )
            if wait:
                yield env.timeout(wait)
            door.submit(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantLoad:
    """Keeps ``num_in_flight`` requests under way as long as there are more: each answer lets the
    next one in at once.

    The requests' own arrival times play no part (``--max-concurrency`` of vLLM's benchmark at an
    infinite request rate).
    """

    requests: Iterator[Request]
    num_in_flight: int
    num_warmup_requests: int = 0

    def feed(self, door: FrontDoor) -> Process:
        """Keep ``num_in_flight`` requests under way. One that is turned away makes room at once."""
        coming = iter(self.requests)
        first = islice(coming, self.num_in_flight)
        # Each place in flight is a process of its own; all take from one iterator, so requests keep
        # their order.
        yield door.env.all_of(
            [door.env.process(_one_by_one(request, coming, door)) for request in first]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """Conversations with ``num_requests`` requests in all.

    Each conversation asks its next question when the answer before it is there and the question's
    time has come.
    """

    sessions: Iterator[Conversation]
    num_requests: int
    num_warmup_requests: int = 0

    def feed(self, door: FrontDoor) -> Process:
        """Let conversations begin at their times; each then waits for its own answers."""
        counter = _Counter(limit=self.num_requests)
        env = door.env
        talks = []
        for session in self.sessions:
            if session.start_ns > env.now:
                yield env.timeout(session.start_ns - int(env.now))
            if counter.is_exhausted:
                break
            talks.append(env.process(_converse(session, door, counter)))
            # Else the list would grow with the number of sessions, which has no end.
            talks = [talk for talk in talks if talk.is_alive]
        yield from talks


def _one_by_one(first: Request, coming: Iterator[Request], door: FrontDoor) -> Process:
    """Submit a request; after each answer, submit the next request that is not taken yet."""
    for request in chain((first,), coming):
        yield door.submit(replace(request, arrival_ns=int(door.env.now)))


@dataclass(slots=True, kw_only=True)
class _Counter:
    """Numbers requests as they are submitted."""

    limit: int
    number: int = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether all requests have been submitted."""
        return self.number >= self.limit

    def next(self) -> int:
        """Return the next number."""
        self.number += 1
        return self.number - 1


def _converse(session: Conversation, door: FrontDoor, counter: _Counter) -> Process:
    for round_number in range(session.num_rounds):
        if counter.is_exhausted:
            return
        arrival_ns = int(door.env.now)
        is_answered = yield door.submit(session.request(round_number, counter.next(), arrival_ns))
        # Later rounds contain this one, so they would be too long as well.
        if not is_answered:
            return
        wait = session.next_arrival_ns(arrival_ns, int(door.env.now)) - int(door.env.now)
        if wait:
            yield door.env.timeout(wait)


def source_of(spec: RequestsSpec, seed: int, num_requests: int | None = None) -> Source:
    """Return the source that a request file describes.

    Conversations and constant loads wait for answers; all other requests come at their own times.
    ``num_requests`` takes the place of the file's. Raises InputError where a warm-up would leave
    none of them to count.
    """
    warmup = spec.num_warmup_requests
    if num_requests is not None and num_requests <= warmup:
        raise InputError(
            f"{num_requests} requests of {spec.name}: the first {warmup} only warm caches up and are not counted, so more are needed"
        )
    spec = spec if num_requests is None else spec.model_copy(update={"num_requests": num_requests})
    scenario = spec.multi_round
    if scenario is not None:
        assert spec.num_requests is not None
        return ClosedLoop(
            sessions=scenario.sessions(), num_requests=spec.num_requests, num_warmup_requests=warmup
        )
    if spec.num_in_flight is not None:
        return ConstantLoad(
            requests=spec.requests(seed),
            num_in_flight=spec.num_in_flight,
            num_warmup_requests=warmup,
        )
    return OpenLoop(requests=spec.requests(seed), num_warmup_requests=warmup)
