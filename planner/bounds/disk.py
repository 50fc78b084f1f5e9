"""Bounds where experts have to be read from the disk: no run is faster than its reads.

A selected expert is on the GPU, in host memory, or has to be read. GPU and host memory together are
one store in front of the disk, which reads one expert at a time. The static bound takes the fixed
set of stored experts that saves most reads. The clairvoyant bound takes the best of all changing
sets, with a price on every byte held at each border between passes. The proof is in
docs/explanation/bounds.md.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwprofiles import Machine
from planner.bounds.clairvoyant import Uses, cheapest_ns
from planner.bounds.draws import MeanBounds
from planner.bounds.rounding import seconds_below
from planner.bounds.work import Floats, Work
from sim.costs.host_room import RESERVED_BYTES, disk_read_ns
from sim.costs.memory import MemoryRule, context_bytes, machine_bytes, working_bytes
from sim.policies.placement.fitting import expert_sizes
from sim.policies.problem import Problem
from sim.step.simulate import Drawn

NUM_PRICES = 24
"""Prices of a byte and border that are tried, besides 0; each proves a bound."""


def with_reads(
    bounds: MeanBounds,
    problem: Problem,
    draws: Sequence[Drawn],
    works: Sequence[Work],
    cards: Sequence[Machine],
) -> MeanBounds:
    """Return the given bounds, or those of the reads where they are higher.

    ``cards`` are the cards that may be in use. The static bound is for plans whose experts on the
    GPU and in host memory stay. Such plans read nothing ahead of its gate, except for the prompt,
    and set aside as much GPU memory as a default budget does.
    """
    read_ns = disk_read_ns(problem.machine, expert_sizes(problem)).astype(np.float64)
    room = _room_bytes(problem, cards)
    aside = _aside_bytes(problem, cards)
    static_ns = _static_ns(problem, draws, works, read_ns, room - aside, bounds.are_alike)
    clairvoyant_ns = _clairvoyant_ns(problem, draws, read_ns, room)
    number = len(draws)
    clairvoyant_s = max(bounds.clairvoyant_s, seconds_below(clairvoyant_ns / number))
    static_s = max(bounds.static_s, seconds_below(static_ns / number), clairvoyant_s)
    return replace(bounds, static_s=static_s, clairvoyant_s=clairvoyant_s)


def _room_bytes(problem: Problem, cards: Sequence[Machine]) -> float:
    """Return the most bytes of experts that GPUs and host memory hold together.

    All other weights lie in one of the two, and the system takes RESERVED_BYTES of host memory.
    """
    assert problem.machine.cpu.memory_bytes is not None
    on_gpus = sum(machine_bytes(card) for card in cards)
    in_host = problem.machine.cpu.memory_bytes.effective - RESERVED_BYTES
    return max(0.0, on_gpus + in_host - problem.model.non_expert_bytes)


def _aside_bytes(problem: Problem, cards: Sequence[Machine]) -> float:
    """Return the bytes that default budgets set aside beside weights, over all cards.

    Each card sets aside its CUDA context, and the buffers of a card without the head.
    """
    rule = MemoryRule()
    buffers = working_bytes(problem.model, problem.batch, problem.feeding, rule, has_head=False)
    return float(sum(context_bytes(card) + buffers for card in cards))


def _static_ns(
    problem: Problem,
    draws: Sequence[Drawn],
    works: Sequence[Work],
    read_ns: Floats,
    capacity_bytes: float,
    are_alike: bool,
) -> float:
    """Return the ns of all reads with the best fixed set of experts, and of decoding while the disk
    is idle.

    Both times are over all draws. In decoding, the disk is idle while a layer attends and its gate
    selects. The layer's reads come after its gate, and the next layer after the reads.
    """
    used = sum(
        ((drawn.tokens > 0).sum(axis=0, dtype=np.float64) for drawn in draws),
        start=np.zeros(problem.popularity.shape),
    )
    if are_alike:
        counts = np.array([max(1, layer.num_experts) for layer in problem.model.layers])
        exists = np.arange(problem.model.num_experts) < counts[:, None]
        used = exists * (used.sum(axis=1) / counts)[:, None]
    saved = used * read_ns[:, None]
    sizes = np.broadcast_to(expert_sizes(problem)[:, None], saved.shape)
    rate = (saved / np.maximum(sizes, 1)).ravel()
    order = np.argsort(-rate, kind="stable")
    held = np.minimum(np.cumsum(sizes.ravel()[order]), capacity_bytes)
    reads = float(saved.sum() - (np.diff(held, prepend=0.0) * rate[order]).sum())
    idle = sum(_idle_ns(work) for work in works)
    return reads + idle


def _idle_ns(work: Work) -> float:
    """Return the ns of decoding in attention and gates of layers with experts, in heads and in
    overheads.
    """
    is_decode = ~work.is_prefill
    is_moe = np.zeros(work.serial_gpu.shape, bool)
    is_moe.ravel()[work.experts.cell_of] = True
    serial = np.minimum(work.serial_gpu, work.serial_cpu) * is_moe
    heads = np.minimum(work.head_gpu, work.head_cpu) + work.step_overhead
    return float(serial[is_decode].sum() + heads[is_decode].sum())


def _clairvoyant_ns(
    problem: Problem, draws: Sequence[Drawn], read_ns: Floats, capacity_bytes: float
) -> float:
    """Return the least ns of reads of any policy, over all draws.

    The price of a byte that proves most for the first draw serves all draws.
    """
    ways = [_uses(problem, drawn, read_ns) for drawn in draws]
    passes = [len(drawn.passes) for drawn in draws]
    size = float(expert_sizes(problem).max())
    prices = np.append(0.0, np.geomspace(1e-3, 1.0, NUM_PRICES) * read_ns.max() / size)

    def value(own: Uses, num_passes: int, price: float) -> float:
        """Return the bound in ns that a price of a byte proves for one draw."""
        return cheapest_ns(own, price) - price * capacity_bytes * num_passes

    best = max(prices, key=lambda price: value(ways[0], passes[0], float(price)))
    return sum(value(own, number, float(best)) for own, number in zip(ways, passes, strict=True))


def _uses(problem: Problem, drawn: Drawn, read_ns: Floats) -> Uses:
    """Return every use of every expert in a draw: the expert is held from use to use, or read."""
    tokens = drawn.tokens
    num_items = tokens.shape[1] * tokens.shape[2]
    index, item = np.nonzero(tokens.reshape(len(tokens), num_items))
    order = np.argsort(item, kind="stable")
    layer_of = np.arange(num_items) // tokens.shape[2]
    copies = read_ns[layer_of]
    counts = np.bincount(item, minlength=num_items)
    return Uses(
        starts=np.append(0, np.cumsum(counts)),
        pass_of=index[order],
        cell=np.full(len(item), -1),
        weight=np.zeros(len(item)),
        cost_ns=copies[item[order]],
        size_bytes=expert_sizes(problem)[layer_of].astype(np.float64),
        copy_ns=copies,
    )
