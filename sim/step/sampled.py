"""The figures of a long run, from its prompt and its first output tokens.

Once a cache is warm, one output token takes about as long as another, except for attention. The
price of attention is known for every token. So a few of many tokens tell what all of them take.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.actions import LayerMode
from sim.policies.cache.score import Score
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.room import Rooms
from sim.step.execute import Execution, execute
from sim.step.lowering.live_setup import next_uses
from sim.step.lowering.prices import price
from sim.step.metrics import Metrics, Totals, metrics_of, totals_of
from sim.step.repeated import repeats
from sim.step.simulate import Drawn, Scenario, fixed_bytes, foresight_of, memory_items
from sim.workload.batch import Passes, passes_between

SAMPLED_TOKENS = 64
"""The number of output tokens that are simulated of a sampled run."""
WARM_TOKENS = 32
"""The number of sampled tokens that may take longer because caches are cold.

The other sampled tokens stand for all that follow.
"""
LEAST_PARTS = 4
"""A run is worth sampling if it has at least this many times the sampled tokens."""


def is_worth_sampling(
    policy: Policy, problem: Problem, residency: Residency, passes: Passes
) -> bool:
    """Return whether the run is long, and no shorter way gives all of it.

    Pipelined runs are not sampled: micro-batches attend beside other work, so the time that
    attention adds is not known.
    """
    return (
        int(passes.step[-1]) >= LEAST_PARTS * SAMPLED_TOKENS
        and not policy.feeding.is_pipelined
        and not repeats(policy, problem, residency, passes)
    )


def first_tokens(drawn: Drawn, output_tokens: int) -> Drawn:
    """Return the passes of a draw that give its first ``output_tokens`` tokens."""
    count = int(np.searchsorted(drawn.passes.step, output_tokens))
    return Drawn(
        passes=passes_between(drawn.passes, 0, count),
        expert_ids=drawn.expert_ids,
        tokens=np.ascontiguousarray(drawn.tokens[:count]),
        shared=drawn.shared,
    )


def metrics_sampled(
    scenario: Scenario,
    problem: Problem,
    residency: Residency,
    draws: tuple[Drawn, Drawn],
    rooms: Rooms,
) -> Metrics:
    """Return the metrics of a run over the first of the ``draws``, as the second foretells them.

    The second draw is the prompt and the first ``SAMPLED_TOKENS`` tokens of the first.
    """
    whole, sample = draws
    policy = scenario.policy
    foresight = replace(
        foresight_of(scenario, problem, residency, sample),
        later_uses=_later_uses(policy, whole, len(sample.passes)),
    )
    with rooms.lent() as room:
        execution = execute(policy, residency, foresight, scenario.engine, room=room)
        selected = np.flatnonzero(execution.tokens)
        warm, known = (
            _totals(execution, foresight, selected, count)
            for count in (
                int(np.searchsorted(sample.passes.step, WARM_TOKENS)),
                len(sample.passes),
            )
        )
    items = memory_items(problem, residency, policy)
    return metrics_of(
        _foretold(warm, known, _rest(policy, problem, residency, whole.passes)),
        scenario.batch,
        num_resident_experts=residency.num_experts,
        fixed_bytes=fixed_bytes(problem, residency, items),
    )


def _later_uses(policy: Policy, whole: Drawn, num_passes: int) -> NDArray[np.int32] | None:
    """Return ``later_uses`` of the sampled passes, as in Foresight; None if the cache does not need
    them.
    """
    if policy.cache.score is not Score.NEXT_USE:
        return None
    left_out: NDArray[np.int32] = next_uses(whole.tokens[num_passes:])[0] + num_passes
    return left_out


def _totals(
    execution: Execution, foresight: Foresight, selected: NDArray[np.int64], count: int
) -> Totals:
    """Return the totals of the first ``count`` passes of an execution."""
    decisions = execution.decisions
    places = count * foresight.tokens[0].size
    first = Execution(
        decisions=replace(
            decisions,
            actions=decisions.actions[:count],
            modes=decisions.modes[:count],
            spilled=None if decisions.spilled is None else decisions.spilled[:count],
        ),
        timeline=execution.timeline.up_to(_end(execution, count)),
        tokens=execution.tokens[:count],
        last_task=execution.last_task[:count],
        wasted_prefetch_bytes=execution.wasted_prefetch_bytes,
    )
    own = replace(foresight, passes=passes_between(foresight.passes, 0, count))
    return totals_of(first, own, selected[: int(np.searchsorted(selected, places))])


def _end(execution: Execution, count: int) -> int:
    """Return how many tasks the first ``count`` passes have.

    Tasks that a pass leaves running aside follow its last task, and belong to it.
    """
    if count == len(execution.last_task):
        return len(execution.timeline.tasks)
    last = int(execution.last_task[count - 1])
    steps = execution.timeline.tasks.step[last : int(execution.last_task[count])]
    return last + int(np.argmax(steps != steps[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """What a sample leaves out of a run.

    ``times`` is the number of tokens left out over the number of tokens that stand for them.
    ``attention_ns`` is, by resource, the attention of the tokens left out, less ``times`` that of
    the tokens that stand for them.
    """

    times: float
    attention_ns: dict[str, float]


def _rest(policy: Policy, problem: Problem, residency: Residency, passes: Passes) -> _Rest:
    """What a sample leaves out of those passes."""
    modes = policy.dispatch.layer_modes(residency, passes.num_tokens)
    heads = policy.dispatch.head_modes(residency, passes.num_tokens)
    attention = price(problem, passes, modes, heads, 1).attention
    times = (int(passes.step[-1]) + 1 - SAMPLED_TOKENS) / (SAMPLED_TOKENS - WARM_TOKENS)
    left_out = passes.step >= SAMPLED_TOKENS
    stand_in = (passes.step >= WARM_TOKENS) & ~left_out
    more_ns = {}
    for name, is_there in (("gpu", modes != LayerMode.CPU), ("cpu", modes == LayerMode.CPU)):
        own = np.where(is_there, attention, 0).sum(axis=1)
        more_ns[name] = float(own[left_out].sum() - times * own[stand_in].sum())
    return _Rest(times=times, attention_ns=more_ns)


def _foretold(warm: Totals, known: Totals, rest: _Rest) -> Totals:
    """Return the totals of a whole run from those of its first passes.

    ``known`` are the totals of all sampled passes, ``warm`` those of the first of them.
    """

    def grown(name: str) -> int:
        """Return a figure of the whole run, as if each token left out added as much as those that
        stand for it.
        """
        first = getattr(warm, name)
        both = getattr(known, name)
        return int(both + round(rest.times * (both - first)))

    busy_ns = {
        name: round(ns + rest.times * (ns - warm.busy_ns[name]) + rest.attention_ns.get(name, 0.0))
        for name, ns in known.busy_ns.items()
    }
    end_ns = grown("end_ns") + round(sum(rest.attention_ns.values()))
    prefetched = grown("prefetched_bytes")
    wasted = known.wasted_prefetch_bytes * prefetched / max(1, known.prefetched_bytes)
    return replace(
        known,
        end_ns=end_ns,
        makespan_ns=end_ns + known.makespan_ns - known.end_ns,
        busy_ns=busy_ns,
        h2d_bytes=grown("h2d_bytes"),
        d2h_bytes=grown("d2h_bytes"),
        prefetched_bytes=prefetched,
        # What is wasted is known of a run as a whole: its share of what was fetched ahead stays.
        wasted_prefetch_bytes=round(wasted),
        counts=tuple(
            int(both + round(rest.times * (both - first)))
            for first, both in zip(warm.counts, known.counts, strict=True)
        ),
    )
