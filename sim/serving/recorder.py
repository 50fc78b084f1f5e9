"""Records of the requests of a run, from which its figures are made."""

from array import array

from hwprofiles.units import NS_PER_S
from sim.serving.sequence import Sequence


class Recorder:
    """Counts, and four numbers for each finished request: 32 bytes, so that memory hardly grows
    with the trace.

    The first ``num_warmup_requests`` are not recorded.
    """

    def __init__(self, num_warmup_requests: int = 0) -> None:
        """Start with nothing recorded."""
        self.num_warmup_requests = num_warmup_requests
        self.num_submitted = 0
        self.num_rejected = 0
        self.num_preemptions = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.hit_tokens: dict[str, int] = {}
        self.first_arrival_ns: int | None = None
        self.last_end_ns = 0
        # Arrays of doubles: a list of floats takes four times the memory.
        self.queue_s = array("d")
        self.ttft_s = array("d")
        self.tpot_s = array("d")
        self.end_to_end_s = array("d")

    @property
    def num_finished(self) -> int:
        """Requests that were answered in full."""
        return len(self.ttft_s)

    def submitted(self, number: int, now_ns: int) -> None:
        """Note that a request has arrived."""
        if number < self.num_warmup_requests:
            return
        self.num_submitted += 1
        if self.first_arrival_ns is None:
            self.first_arrival_ns = now_ns

    def rejected(self, number: int) -> None:
        """Note that a request is longer than the instance can ever hold."""
        self.num_rejected += number >= self.num_warmup_requests

    def finished(self, sequence: Sequence, now_ns: int) -> None:
        """Note that the last token of a request is out."""
        if sequence.number < self.num_warmup_requests:
            return
        assert sequence.admitted_ns is not None and sequence.first_token_ns is not None
        self.prompt_tokens += sequence.prompt_tokens
        self.output_tokens += sequence.generated_tokens
        self.num_preemptions += sequence.num_preemptions
        for tier, tokens in sequence.hit_tokens.items():
            self.hit_tokens[tier] = self.hit_tokens.get(tier, 0) + tokens
        self.last_end_ns = max(self.last_end_ns, now_ns)
        self.queue_s.append((sequence.admitted_ns - sequence.arrival_ns) / NS_PER_S)
        self.ttft_s.append((sequence.first_token_ns - sequence.arrival_ns) / NS_PER_S)
        self.end_to_end_s.append((now_ns - sequence.arrival_ns) / NS_PER_S)
        # One token has no time after its first: such a request has no TPOT at all, not one of 0.
        if sequence.generated_tokens > 1:
            self.tpot_s.append(
                (now_ns - sequence.first_token_ns) / (sequence.generated_tokens - 1) / NS_PER_S
            )
