"""The instances of a run, and the way of a request through them.

One instance does all of a request, or one prefills and another decodes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import simpy

from sim.serving.balancing import choose
from sim.serving.blocks import BlockPool
from sim.serving.cluster import Cluster
from sim.serving.handover import Buffer, Disaggregation, Handover, Process
from sim.serving.instance import Instance
from sim.serving.sequence import Sequence
from sim.serving.tiers import Tiers

OnEnd = Callable[[Sequence], None]


class Fleet(Protocol):
    """Instances that requests go to."""

    instances: list[Instance]

    def can_hold(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether a request of those lengths fits at all."""

    def submit(self, sequence: Sequence) -> None:
        """Take a request that fits, as it arrives."""


def fleet(env: simpy.Environment, cluster: Cluster, tiers: Tiers, on_end: OnEnd) -> Fleet:
    """Return the instances of a cluster. ``on_end`` is called with each sequence whose last token
    is out.
    """
    if cluster.disaggregation is None:
        return Together(env, cluster, tiers, on_end)
    return Apart(env, cluster, cluster.disaggregation, tiers, on_end)


class Together:
    """Instances that each prefill and decode."""

    def __init__(
        self, env: simpy.Environment, cluster: Cluster, tiers: Tiers, on_end: OnEnd
    ) -> None:
        self.instances = [
            _instance(env, cluster, on_end, tiers) for _ in range(cluster.num_instances)
        ]
        self._cluster = cluster

    def can_hold(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether one instance has room for prompt and answer together."""
        return self.instances[0].can_hold(prompt_tokens + output_tokens)

    def submit(self, sequence: Sequence) -> None:
        """Hand the request to the instance that the balancing chooses."""
        choose(self.instances, sequence, self._cluster.balancing).submit(sequence)


class Apart:
    """Instances of which some prefill, with the tiers behind them, and the others decode.

    A decode instance computes the last token of a prompt itself, and with it the first token of the
    answer.
    """

    def __init__(
        self,
        env: simpy.Environment,
        cluster: Cluster,
        options: Disaggregation,
        tiers: Tiers,
        on_end: OnEnd,
    ) -> None:
        self.prefillers = [
            _instance(env, cluster, self._prefilled, tiers) for _ in range(options.num_prefill)
        ]
        self.decoders = [_instance(env, cluster, on_end, None) for _ in range(options.num_decode)]
        self.instances = self.prefillers + self.decoders
        size = options.buffer_bytes
        # A file may state a size such as 1.5e9; what is held is counted in whole bytes.
        capacity = None if size is None else int(size)
        self.buffers = [Buffer(env, capacity) for _ in self.decoders]
        self.handovers = [
            Handover(env, options, cluster.kv_bytes_per_token, self._buffer_for)
            for _ in self.prefillers
        ]
        for prefiller, handover in zip(self.prefillers, self.handovers, strict=True):
            prefiller.handover = handover
        for decoder in self.decoders:
            decoder.on_admitted = self._admitted
        self._env = env
        self._cluster = cluster
        self._requests: dict[int, tuple[Sequence, Handover]] = {}
        self._decoder_of: dict[int, int] = {}
        self._num_assigned = [0] * options.num_decode

    def can_hold(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether a decode instance has room for prompt and answer, and its buffer for the
        prompt.
        """
        size = self.buffers[0].capacity_bytes
        fits_buffer = size is None or prompt_tokens * self._cluster.kv_bytes_per_token <= size
        return fits_buffer and self.decoders[0].can_hold(prompt_tokens + output_tokens)

    def submit(self, sequence: Sequence) -> None:
        """Let a prefill instance compute the prompt first, as a request with one output token."""
        # The one output token is the first of the answer, which the prefill instance drops: the
        # decode instance computes it again. Its answer has no name, so its blocks hold the prompt
        # alone.
        request = replace(sequence.request, output_tokens=1, answer=None)
        prompt = Sequence(
            request=request, prompt_tokens=sequence.prompt_tokens, arrival_ns=sequence.arrival_ns
        )
        prefiller = choose(self.prefillers, prompt, self._cluster.balancing)
        self._requests[sequence.number] = sequence, self.handovers[self.prefillers.index(prefiller)]
        prefiller.submit(prompt)

    def _buffer_for(self, sequence: Sequence) -> Buffer:
        """Assign the sequence to the decode instance with the fewest requests, those on their way
        included, and return its buffer.
        """
        # Prompts on their way count too: many may be handed over before the first of them is
        # admitted.
        loads = [
            decoder.num_live + on_way
            for decoder, on_way in zip(self.decoders, self._num_assigned, strict=True)
        ]
        index = loads.index(min(loads))
        self._num_assigned[index] += 1
        self._decoder_of[sequence.number] = index
        return self.buffers[index]

    def _prefilled(self, prompt: Sequence) -> None:
        self._env.process(self._deliver(prompt))

    def _deliver(self, prompt: Sequence) -> Process:
        sequence, handover = self._requests[prompt.number]
        yield from handover.arrived(prompt)
        sequence.admitted_ns = prompt.admitted_ns
        sequence.hit_tokens = prompt.hit_tokens
        # The last token is computed where the answer is decoded, since the next token comes from
        # it.
        sequence.brought_tokens = sequence.prompt_tokens - 1
        index = self._decoder_of.pop(sequence.number)
        self._num_assigned[index] -= 1
        self.decoders[index].submit(sequence)

    def _admitted(self, sequence: Sequence) -> None:
        """Free the sequence's room in the buffer when a decode instance first has blocks for it."""
        # A sequence that was pre-empted is admitted again, but its buffer has been empty since the
        # first time.
        found = self._requests.pop(sequence.number, None)
        if found is not None:
            found[1].unload(sequence)


def _instance(
    env: simpy.Environment, cluster: Cluster, on_end: OnEnd, tiers: Tiers | None
) -> Instance:
    return Instance(
        env=env,
        prices=cluster.prices,
        options=cluster.instance,
        pool=BlockPool(cluster.num_blocks),
        on_end=on_end,
        offload=None if tiers is None else tiers.offload(env, cluster.prices),
    )
