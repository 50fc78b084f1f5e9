"""One forward pass under a policy, step by step in the order of ``sim.step.lowering.emit``."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action, LayerMode
from sim.step.lowering.draft import FROM_GPU, TO_GPU
from validation.backend.crossing import ON_HOST
from validation.backend.emission import CPU, D2H, GPU, H2D, HOST, Emission
from validation.backend.plain import pass_of
from validation.backend.staged_experts import EarlyCopy, StagedExperts
from validation.backend.static_parts import StaticParts
from validation.backend.streaming import LayerRing
from validation.backend.ticket import Ticket, Work
from validation.backend.weights import Block


class PassRun:
    """One pass: what is submitted, and to which lane.

    ``is_on_gpu`` says where the hidden state is.
    """

    def __init__(
        self,
        index: int,
        parts: StaticParts,
        emission: Emission,
        streaming: LayerRing,
        staged: StagedExperts,
        *,
        is_on_gpu: bool,
    ) -> None:
        self._index = index
        self._emission = emission
        self._streaming = streaming
        self._staged = staged
        self._dispatching = parts.dispatching
        self._prices = parts.prices
        self._weights = parts.weights
        self._memory = parts.memory
        self._pass = pass_of(parts.weights, parts.sequences, parts.passes, index)
        self._num_tokens = int(parts.passes.num_tokens[index])
        self._num_sequences = int(parts.passes.num_sequences[index])
        self.is_on_gpu = is_on_gpu

    def run(self, tokens_LE: NDArray[np.int32], actions_LE: NDArray[np.uint8]) -> None:
        """Submit all of the pass; fills in what the router selected and what was done about it."""
        for layer in range(len(self._weights.layers)):
            self._overhead(self._prices.layer_overhead, layer)
            if self._dispatching.modes[self._index, layer] == LayerMode.CPU:
                self._layer_on_cpu(layer, tokens_LE[layer], actions_LE[layer])
            else:
                self._layer_on_gpu(layer, tokens_LE[layer], actions_LE[layer])
        self._head()
        self._overhead(self._prices.step_overhead, NONE)

    def _layer_on_cpu(
        self, layer: int, tokens_E: NDArray[np.int32], actions_E: NDArray[np.uint8]
    ) -> None:
        """Attention, gate, feed-forward and all experts, one after another on the CPU."""
        own = self._weights.layers[layer]
        self._move_hidden(layer, to_gpu=False, only_last=False)
        last = self._attend(CPU, layer, own.dense, None)
        if self._is_moe(layer):
            last = self._gate(CPU, layer, own.dense, tokens_E, actions_E)
        last = self._feed(CPU, layer, own.dense) or last
        for expert in np.flatnonzero(tokens_E).tolist():
            last = self._expert(
                CPU,
                layer,
                expert,
                int(tokens_E[expert]),
                self._runs_expert(expert, own.experts[expert]),
            )
        self._emission.join = last, None

    def _layer_on_gpu(
        self, layer: int, tokens_E: NDArray[np.int32], actions_E: NDArray[np.uint8]
    ) -> None:
        place = (self._index, layer)
        weights = None
        is_streamed = self._dispatching.modes[place] == LayerMode.STREAM
        if is_streamed:
            weights = self._streaming.fetch(place)
        early = [self._early_copy(layer, expert) for expert in self._dispatching.early(*place)]
        dense = self._streaming.layer(place).dense if is_streamed else self._memory.dense[layer]
        self._move_hidden(layer, to_gpu=True, only_last=False)
        last: Ticket = self._attend(GPU, layer, dense, weights)
        if self._is_moe(layer):
            gate = self._gate(GPU, layer, dense, tokens_E, actions_E)
            last = self._experts(layer, dense, gate, tokens_E, actions_E, early)
        else:
            last = self._feed(GPU, layer, dense) or last
            self._emission.join = last, None
        if is_streamed:
            self._streaming.release(last)

    def _experts(
        self,
        layer: int,
        dense: Block,
        gate: Ticket,
        tokens_E: NDArray[np.int32],
        actions_E: NDArray[np.uint8],
        early: Sequence[EarlyCopy],
    ) -> Ticket:
        """The routed experts of a layer whose dense part runs on the accelerator; returns the last
        task there.
        """
        # The CPU's experts come first, so that their activations travel while the GPU computes.
        last_on_cpu, rows = self._cpu_experts(
            layer, gate, tokens_E, np.flatnonzero(actions_E == Action.CPU).tolist()
        )
        last = self._feed(GPU, layer, dense) or gate
        # Their buffers come free first, for the fetches below.
        for one in early:
            if tokens_E[one.expert] > 0:
                last = self._expert(
                    GPU,
                    layer,
                    one.expert,
                    int(tokens_E[one.expert]),
                    self._runs_expert(one.expert, one.buffer),
                    one.copy,
                )
                self._staged.give_back(one.number, last)
        for expert in np.flatnonzero(actions_E == Action.RESIDENT).tolist():
            last = self._expert(
                GPU,
                layer,
                expert,
                int(tokens_E[expert]),
                self._runs_expert(expert, self._held(layer, expert)),
            )
        for expert in np.flatnonzero(actions_E == Action.FETCH).tolist():
            last = self._fetched_expert(layer, expert, int(tokens_E[expert]), gate)
        back = None
        if last_on_cpu is not None:
            duration_ns = self._hidden_ns(TO_GPU, layer, rows)
            back = self._emission.append(
                H2D,
                TaskKind.ACTIVATION_COPY,
                layer,
                NONE,
                duration_ns,
                self._pass.bring_back,
                last_on_cpu,
            )
        self._emission.join = last, back
        return last

    def _cpu_experts(
        self, layer: int, gate: Ticket, tokens_E: NDArray[np.int32], experts: list[int]
    ) -> tuple[Ticket | None, int]:
        """Send activations down and run the layer's CPU experts; returns the last of them and the
        rows that were sent.
        """
        if not experts:
            return None, 0
        # A token goes down once, however many of its experts run there.
        rows = min(int(tokens_E[experts].sum()), self._num_tokens)
        sends = self._pass.send
        own = self._weights.layers[layer].experts
        duration_ns = self._hidden_ns(FROM_GPU, layer, rows)
        sent = self._emission.append(
            D2H, TaskKind.ACTIVATION_COPY, layer, NONE, duration_ns, lambda: sends(experts), gate
        )
        last = None
        for expert in experts:
            last = self._expert(
                CPU,
                layer,
                expert,
                int(tokens_E[expert]),
                self._runs_sent_expert(expert, own[expert]),
                sent,
            )
        return last, rows

    def _early_copy(self, layer: int, expert: int) -> EarlyCopy:
        """Copy an expert into the next free buffer, whatever the gate will say; the buffer is free
        again with the copy, unless it runs.
        """
        number, buffer, last_use = self._staged.take(layer)
        source = self._weights.layers[layer].experts[expert]
        duration_ns = int(self._prices.fetch[layer])
        copy = self._emission.append(
            H2D,
            TaskKind.EARLY_FETCH,
            layer,
            expert,
            duration_ns,
            buffer.copy_from(source),
            last_use,
        )
        self._staged.give_back(number, copy)
        return EarlyCopy(expert, number, buffer, copy)

    def _fetched_expert(self, layer: int, expert: int, tokens: int, gate: Ticket) -> Ticket:
        """Copy a missing expert into the next free buffer and run it; returns the run."""
        number, buffer, last_use = self._staged.take(layer)
        source = self._weights.layers[layer].experts[expert]
        duration_ns = int(self._prices.fetch[layer])
        copy = self._emission.append(
            H2D,
            TaskKind.FETCH,
            layer,
            expert,
            duration_ns,
            buffer.copy_from(source),
            gate,
            last_use,
        )
        run = self._expert(GPU, layer, expert, tokens, self._runs_expert(expert, buffer), copy)
        self._staged.give_back(number, run)
        return run

    def _attend(self, resource: int, layer: int, dense: Block, weights: Ticket | None) -> Ticket:
        current = self._pass
        duration_ns = int(self._prices.attention[self._index, layer])

        def work() -> int:
            """Attend, and copy nothing."""
            current.attend(layer, dense)
            return 0

        return self._emission.append(
            resource,
            TaskKind.ATTENTION,
            layer,
            NONE,
            duration_ns,
            work,
            *self._emission.join,
            weights,
        )

    def _gate(
        self,
        resource: int,
        layer: int,
        dense: Block,
        tokens_E: NDArray[np.int32],
        actions_E: NDArray[np.uint8],
    ) -> Ticket:
        """Select experts, wait for what was selected, and decide what to do about it."""

        def work() -> int:
            """Note the tokens of each expert that the router selected."""
            tokens_E[: self._num_experts(layer)] = self._pass.select(layer, dense)
            return 0

        duration_ns = int(self._prices.gate[self._index, layer])
        gate = self._emission.append(resource, TaskKind.GATE, layer, NONE, duration_ns, work)
        # Before the wait, in which the link would otherwise stand still.
        self._streaming.run_ahead((self._index, layer))
        # The selection decides which tasks follow, so none of them can be submitted before.
        gate.wait()
        if gate.error is not None:
            raise gate.error
        actions_E[:] = self._dispatching.actions(self._index, layer, tokens_E)
        return gate

    def _feed(self, resource: int, layer: int, dense: Block) -> Ticket | None:
        """The part of the feed-forward that every token meets: shared experts or a dense layer's;
        None where there is none.
        """
        duration_ns = int(self._prices.ffn[self._index, layer])
        if duration_ns <= 0:
            return None
        feeds = self._pass.feed_shared if self._is_moe(layer) else self._pass.feed_dense
        kind = TaskKind.SHARED_EXPERT if self._is_moe(layer) else TaskKind.DENSE_FFN

        def work() -> int:
            """Feed forward, and copy nothing."""
            feeds(dense)
            return 0

        return self._emission.append(resource, kind, layer, NONE, duration_ns, work)

    def _expert(
        self, resource: int, layer: int, expert: int, tokens: int, work: Work, *waits: Ticket
    ) -> Ticket:
        table = self._prices.expert_gpu if resource == GPU else self._prices.expert_cpu
        duration_ns = int(table[self._prices.shape_of[layer], tokens])
        return self._emission.append(
            resource, TaskKind.EXPERT, layer, expert, duration_ns, work, *waits
        )

    def _head(self) -> None:
        """The vocabulary projection, if this pass ends in one."""
        duration_ns = int(self._prices.head[self._index])
        # A negative price marks a pass that gives no tokens.
        if duration_ns < 0:
            return
        mode = self._dispatching.head_modes[self._index]
        place = (self._index, NONE)
        weights = None
        is_streamed = mode == LayerMode.STREAM
        if is_streamed:
            weights = self._streaming.fetch(place)
        # Only the last position of a sequence gives a token.
        self._move_hidden(NONE, to_gpu=mode != LayerMode.CPU, only_last=True)
        top = (
            self._streaming.top(place)
            if is_streamed
            else self._memory.top
            if mode == LayerMode.GPU
            else self._weights.top
        )
        assert top is not None, "the head runs where it is not"
        finishes = self._pass.finish
        # A second name, which the type checker knows to be a block inside the function below.
        block = top

        def work() -> int:
            """Make logits and choose tokens."""
            finishes(block)
            return 0

        resource = CPU if mode == LayerMode.CPU else GPU
        last = self._emission.append(
            resource, TaskKind.HEAD, NONE, NONE, duration_ns, work, *self._emission.join, weights
        )
        self._emission.join = last, None
        if is_streamed:
            self._streaming.release(last)

    def _hidden_ns(self, which: int, layer: int, tokens: int) -> int:
        """What a copy of that many tokens' hidden states takes; all layers are on one card here."""
        return int(self._prices.activations[self._prices.shape_of[layer], which, tokens])

    def _move_hidden(self, layer: int, *, to_gpu: bool, only_last: bool) -> None:
        """Bring the hidden state to the accelerator or the CPU if it is not there."""
        if self.is_on_gpu == to_gpu:
            return
        count = self._num_sequences if only_last else self._num_tokens
        current = self._pass
        place = self._memory.device if to_gpu else ON_HOST
        copy = self._emission.append(
            H2D if to_gpu else D2H,
            TaskKind.ACTIVATION_COPY,
            layer,
            NONE,
            self._hidden_ns(TO_GPU if to_gpu else FROM_GPU, layer, count),
            lambda: current.move(place, only_last=only_last),
            *self._emission.join,
        )
        self._emission.join = copy, None
        self.is_on_gpu = to_gpu

    def _overhead(self, duration_ns: int, layer: int) -> None:
        """Host time that the next task waits for, if there is any."""
        if duration_ns > 0:
            last = self._emission.append(
                HOST, TaskKind.OVERHEAD, layer, NONE, duration_ns, None, *self._emission.join
            )
            self._emission.join = last, None

    def _runs_expert(self, expert: int, block: Block) -> Work:
        current = self._pass

        def work() -> int:
            """Run the expert where the hidden state is."""
            current.run_expert(expert, block)
            return 0

        return work

    def _runs_sent_expert(self, expert: int, block: Block) -> Work:
        current = self._pass

        def work() -> int:
            """Run the expert over the rows that were sent."""
            current.run_sent_expert(expert, block)
            return 0

        return work

    def _held(self, layer: int, expert: int) -> Block:
        """Where the accelerator has an expert that need not be fetched: of a streamed layer, or
        resident.
        """
        place = (self._index, layer)
        if self._dispatching.modes[place] == LayerMode.STREAM:
            return self._streaming.layer(place).experts[expert]
        return self._memory.experts[layer, expert]

    def _is_moe(self, layer: int) -> bool:
        return self._num_experts(layer) > 0

    def _num_experts(self, layer: int) -> int:
        return self._weights.architecture.layers[layer].num_experts
