"""Multi-round question answering with the parameters and the timing of LMBenchmark's generator.

That is github.com/LMCache/LMBenchmark, synthetic-multi-round-qa; vllm-project/production-stack,
benchmarks/multi-round-qa, has it too. Each user has a context of their own behind a system prompt
that all share, and asks round after round. Every prompt holds all earlier questions and answers. A
fixed number of users are active at a time: a new one replaces each who leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from typing import Annotated, Self

from pydantic import Field, model_validator

from hwprofiles.file_part import FilePart
from hwprofiles.limits import (
    MAX_ROUNDS,
    MAX_TOKENS,
    MAX_USERS,
    RequestsPerSecond,
    Tokens,
    TokensOrNone,
)
from hwprofiles.units import NS_PER_S
from sim.workload.requests.request import Request, Span

# Contents of users are numbered from 1 on, see ``_content``.
SYSTEM_CONTENT = 0
PIECES_PER_ROUND = 2
"""A question and an answer."""


class MultiRound(FilePart):
    """What users ask, and how often: each user asks once every num_users / ``requests_per_s``
    seconds.

    New users join as in the original. So in the long run, num_rounds / (num_rounds - 1) times
    ``requests_per_s`` requests come a second. The first ``num_warmup_users`` users ask their first
    question before the clock of the others starts, at ``warmup_requests_per_s``. They leave in
    caches what a warm-up run leaves there.
    """

    num_users: Annotated[int, Field(ge=1, le=MAX_USERS, strict=True)]
    num_rounds: Annotated[int, Field(ge=2, le=MAX_ROUNDS, strict=True)]
    system_tokens: TokensOrNone
    history_tokens: TokensOrNone
    question_tokens: Tokens
    answer_tokens: Tokens
    requests_per_s: RequestsPerSecond
    num_warmup_users: Annotated[int, Field(ge=0, le=MAX_USERS, strict=True)] = 0
    warmup_requests_per_s: RequestsPerSecond = 2.0

    @model_validator(mode="after")
    def _last_prompt_fits(self) -> Self:
        # Here, not when the last round is reached: that may be hours into a run.
        asked = self.num_rounds * (self.question_tokens + self.answer_tokens)
        total = self.system_tokens + self.history_tokens + asked
        if total > MAX_TOKENS:
            raise ValueError(
                f"the last round has a prompt and an answer of {total:,} tokens, at most {MAX_TOKENS:,} are simulated"
            )
        return self

    @property
    def gap_ns(self) -> int:
        """The time from one request of a user to the next, in ns."""
        return round(self.num_users * NS_PER_S / self.requests_per_s)

    @property
    def warmup_ns(self) -> int:
        """The time that the warm-up takes, in ns."""
        return round(self.num_warmup_users * NS_PER_S / self.warmup_requests_per_s)

    def sessions(self) -> Iterator["Conversation"]:
        """Yield every session in the order of its start, without end.

        The sessions of the warm-up come first, with one round each. When the clock starts, sessions
        are under way as if users had always been coming, but their earlier rounds are not in their
        prompts. From then on, one user joins every (num_rounds − 1)·gap / num_users.
        """
        for user in range(self.num_warmup_users):
            start_ns = round(user * NS_PER_S / self.warmup_requests_per_s)
            yield Conversation(
                scenario=self, user=user, number=user, start_ns=start_ns, num_rounds=1
            )
        # A user stays for num_rounds − 1 gaps, so at this rate num_users are there at any time.
        join_gap_ns = self.gap_ns * (self.num_rounds - 1) / self.num_users
        joining = self._joining(join_gap_ns)
        # Merged, not sorted: those who join have no end.
        yield from merge(sorted(self._under_way(join_gap_ns), key=_start), joining, key=_start)

    def requests(self) -> Iterator[Request]:
        """Yield every request in order of arrival, without end. Each round comes one gap after the
        one before, as if every answer were in time.
        """
        sessions = self.sessions()
        coming = next(sessions)
        number = 0
        due: list[tuple[int, int, int, Conversation]] = []  # arrival, session, round
        while True:
            # All sessions that start before the next round is due must be known first.
            while not due or coming.start_ns <= due[0][0]:
                # The number comes before the session, which has no order, and is never equal.
                heappush(due, (coming.start_ns, coming.number, 0, coming))
                coming = next(sessions)
            arrival_ns, _, round_number, session = heappop(due)
            yield session.request(round_number, number, arrival_ns)
            number += 1
            if round_number + 1 < session.num_rounds:
                heappush(due, (arrival_ns + self.gap_ns, session.number, round_number + 1, session))

    def _under_way(self, join_gap_ns: float) -> Iterator["Conversation"]:
        """Yield the sessions that are under way when the clock starts: user i joined (num_users −
        i) joins before it.
        """
        for user in range(self.num_users):
            age_ns = (self.num_users - user) * join_gap_ns
            passed = int(age_ns / self.gap_ns) + 1
            # A user who has asked all rounds has left, and the next user in that place joins later.
            if passed < self.num_rounds:
                start_ns = self.warmup_ns + round(passed * self.gap_ns - age_ns)
                yield self._session(user, start_ns, passed)

    def _joining(self, join_gap_ns: float) -> Iterator["Conversation"]:
        user = self.num_users
        while True:
            start_ns = self.warmup_ns + round((user - self.num_users) * join_gap_ns)
            yield self._session(user, start_ns, 0)
            user += 1

    def _session(self, user: int, start_ns: int, passed: int) -> "Conversation":
        number = self.num_warmup_users + user
        rounds = self.num_rounds - passed
        return Conversation(
            scenario=self,
            user=user,
            number=number,
            start_ns=start_ns,
            num_rounds=rounds,
            first_question=passed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation: ``num_rounds`` requests, the first at ``start_ns``.

    Each conversation has a ``number`` of its own. Its content depends on ``user`` and on
    ``first_question``, the number of its first question among the user's.
    """

    scenario: MultiRound
    user: int
    number: int
    start_ns: int
    num_rounds: int
    first_question: int = 0

    def request(self, round_number: int, number: int, arrival_ns: int) -> Request:
        """The request of a round, counted from 0; ``number`` is its place among all requests."""
        scenario = self.scenario
        pieces = [
            (SYSTEM_CONTENT, scenario.system_tokens),
            (self._content(0), scenario.history_tokens),
        ]
        for earlier in range(round_number):
            pieces += [
                (self._question(earlier), scenario.question_tokens),
                (self._answer(earlier), scenario.answer_tokens),
            ]
        pieces.append((self._question(round_number), scenario.question_tokens))
        return Request(
            number=number,
            arrival_ns=arrival_ns,
            prompt=tuple(
                Span(content=content, num_tokens=tokens) for content, tokens in pieces if tokens
            ),
            output_tokens=scenario.answer_tokens,
            answer=self._answer(round_number),
            session=self.number,
        )

    def next_arrival_ns(self, arrival_ns: int, end_ns: int) -> int:
        """Return when the next round is asked, after one that arrived and ended at those times, in
        ns.

        It is a gap after the arrival, but never before the end.
        """
        return max(arrival_ns + self.scenario.gap_ns, end_ns)

    def _question(self, round_number: int) -> int:
        return self._content(1 + PIECES_PER_ROUND * (self.first_question + round_number))

    def _answer(self, round_number: int) -> int:
        return self._content(2 + PIECES_PER_ROUND * (self.first_question + round_number))

    def _content(self, piece: int) -> int:
        """Return the content of a piece of this user. Contents are numbered user by user, behind
        the system prompt's.
        """
        return 1 + self.user * (1 + PIECES_PER_ROUND * self.scenario.num_rounds) + piece


def _start(session: Conversation) -> int:
    return session.start_ns
