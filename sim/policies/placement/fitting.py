"""Filling GPU memory with experts in an order of preference: what most placements share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from hwprofiles.ranges import check_shares
from hwprofiles.units import format_bytes
from sim.costs.host_room import behind_bytes, shelf_bytes
from sim.costs.memory import (
    DenseShare,
    Infeasible,
    MemoryRule,
    Residency,
    fixed_items,
    machine_bytes,
    usable_bytes,
)
from sim.policies.placement.base import Placement
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedPlacement(Placement):
    """Keeps all dense parts on the GPU, and fills what memory is left with experts, best first.

    ``gpu_experts_fraction`` is the share of all experts' bytes to hold (KTransformers'
    --kt-gpu-experts-ratio); None: as much as fits.
    """

    memory: MemoryRule = field(default_factory=MemoryRule)
    gpu_experts_fraction: float | None = None

    def __post_init__(self) -> None:
        check_shares(self, "gpu_experts_fraction")

    @property
    def weighs_buffers(self) -> bool:
        """Whether the ranking depends on the number of buffers that copies of experts go
        through.
        """
        return False

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Return the preference for each expert [layer, expert], larger first; ties go to the lower
        layer, then the lower expert.
        """
        raise NotImplementedError

    def place(self, problem: Problem) -> Residency | Infeasible:
        """Place the best experts by the part's own ranking."""
        return self.place_ranked(problem, self.ranking)

    def place_ranked(
        self, problem: Problem, ranking: Callable[[Problem], NDArray[np.float64]]
    ) -> Residency | Infeasible:
        """Place by a given ranking. So a search over many policies can rank the experts once."""
        budgets = expert_budgets(problem, self.memory, np.ones(problem.model.num_layers, bool))
        if isinstance(budgets, Infeasible):
            return budgets
        score = ranking(problem)
        if problem.slots_per_layer is not None:
            return _checked(
                problem,
                top_per_layer(problem, score, problem.slots_per_layer),
                budgets,
                self.memory,
            )
        if self.gpu_experts_fraction is not None:
            counts = np.array([layer.num_experts for layer in problem.model.layers])
            exists = np.arange(problem.model.num_experts) < counts[:, None]
            stated = [
                int(self.gpu_experts_fraction * size) for size in bytes_by_gpu(problem, exists)
            ]
            # A share that was asked for is not made smaller in silence.
            over = max(wanted - budget for wanted, budget in zip(stated, budgets, strict=True))
            if over > 0:
                reason = f"{self.gpu_experts_fraction:.0%} of the experts do not fit GPU memory"
                return Infeasible(reason=reason, missing_bytes=over)
            budgets = stated
        chosen = np.zeros(score.shape, bool)
        for gpu, budget in enumerate(budgets):
            chosen |= self.fill(
                problem, np.where(problem.card_of_expert == gpu, score, -np.inf), budget
            )
        return _checked(problem, chosen, budgets, self.memory)

    def fill(self, problem: Problem, score: NDArray[np.float64], left: int) -> NDArray[np.bool_]:
        """Experts [layer, expert] within ``left`` bytes of one GPU: in order of preference over all
        layers, each that still fits.

        A score of minus infinity stands for an expert of another GPU.
        """
        sizes = np.broadcast_to(expert_sizes(problem)[:, None], score.shape).ravel()
        counts = np.array([layer.num_experts for layer in problem.model.layers])
        can_be = (sizes > 0) & (
            np.isfinite(score) & (np.arange(score.shape[1]) < counts[:, None])
        ).ravel()
        order = np.argsort(-score, axis=None, kind="stable")
        order = order[can_be[order]]
        chosen = np.zeros(score.size, bool)
        # All up to the first that does not fit, then again without those too large for what is left:
        # as one by one, in few steps.
        while len(order):
            held = np.cumsum(sizes[order])
            number = int(np.searchsorted(held, left, "right"))
            chosen[order[:number]] = True
            left -= int(held[number - 1]) if number else 0
            order = order[number:][sizes[order[number:]] <= left]
        return chosen.reshape(score.shape)


def expert_budgets(
    problem: Problem,
    rule: MemoryRule,
    dense: NDArray[np.bool_],
    *,
    has_head: bool = True,
    kv: NDArray[np.bool_] | None = None,
) -> list[int] | Infeasible:
    """Return the bytes for routed experts on each card. Where a card has no room for all else,
    return Infeasible, with the bytes that the worst card lacks. See ``room_by_card``.
    """
    room = room_by_card(problem, rule, dense, has_head=has_head, kv=kv)
    least = min(room)
    if least >= 0:
        return room
    held = DenseShare(dense=dense, has_head=has_head, staging_bytes=problem.staging_bytes, kv=kv)
    items = items_of_card(problem, rule, room.index(least), held)
    return Infeasible(
        reason=f"without a single expert, GPU memory would hold {spelt(items)}",
        missing_bytes=-least,
    )


def room_by_card(
    problem: Problem,
    rule: MemoryRule,
    dense: NDArray[np.bool_],
    *,
    has_head: bool = True,
    kv: NDArray[np.bool_] | None = None,
) -> list[int]:
    """Return the bytes that each card has left for routed experts, negative where it lacks room for
    all else.

    Where experts are dealt out, GPU 0 holds all else. The others hold nothing besides experts but
    the buffers of copies. Each card takes an equal part of ``expert_cache_bytes`` at most.
    """
    held = DenseShare(dense=dense, has_head=has_head, staging_bytes=problem.staging_bytes, kv=kv)
    num_filled = 1 if problem.layer_split is None else problem.num_cards
    room = [
        machine_bytes(card_machine(problem, card))
        - sum(items_of_card(problem, rule, card, held).values())
        for card in range(num_filled)
    ]
    peer = max(0, usable_bytes(problem.machine, rule) - problem.staging_bytes)
    room += [peer] * (problem.num_cards - num_filled)
    if problem.expert_cache_bytes is None:
        return room
    return [min(left, problem.expert_cache_bytes // problem.num_cards) for left in room]


def items_of_card(
    problem: Problem, rule: MemoryRule, card: int, held: DenseShare
) -> Mapping[str, int]:
    """Return the bytes that one card holds besides experts, by item.

    ``held`` is what all cards hold together. A card has its own layers; the last card also has the
    head.
    """
    split = problem.layer_split
    own = np.ones(len(held.dense), bool) if split is None else split.card_of_layer == card
    is_last = split is None or card == split.num_cards - 1
    part = replace(
        held,
        dense=held.dense & own,
        has_head=held.has_head and is_last,
        kv=None if held.kv is None else held.kv & own,
    )
    machine = card_machine(problem, card)
    return fixed_items(machine, problem.gpu_model, problem.batch, problem.feeding, rule, part)


def card_machine(problem: Problem, card: int) -> Machine:
    """Return the machine whose one GPU is that card, if whole layers lie on cards; else the
    machine.
    """
    split = problem.layer_split
    return problem.machine if split is None else split.machines[card]


def bytes_by_gpu(problem: Problem, chosen: NDArray[np.bool_]) -> list[int]:
    """Return the bytes of the chosen experts [layer, expert] on each card."""
    sizes = expert_sizes(problem)[:, None] * chosen
    return [int(sizes[problem.card_of_expert == card].sum()) for card in range(problem.num_cards)]


def spelt(items: Mapping[str, int]) -> str:
    """Items of a budget in words: ``weights outside experts 3.21 GB, KV cache 0.10 GB``."""
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in items.items() if size)


def expert_sizes(problem: Problem) -> NDArray[np.int64]:
    """Bytes of one routed expert on its card [layer]."""
    return np.array([layer.expert_bytes for layer in problem.gpu_model.layers], np.int64)


def top_per_layer(problem: Problem, score: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Return the ``count`` best experts of every MoE layer [layer, expert]; minus infinity is never
    chosen.
    """
    chosen = np.zeros(score.shape, bool)
    best = np.argsort(-score, axis=1, kind="stable")[:, :count]
    for layer in problem.model.moe_layers:
        chosen[layer, best[layer]] = np.isfinite(score[layer, best[layer]])
    return chosen


def _checked(
    problem: Problem, chosen: NDArray[np.bool_], budgets: list[int], rule: MemoryRule
) -> Residency | Infeasible:
    """Return the residency; Infeasible if its experts exceed a GPU's budget, or host memory cannot
    hold what it has to.
    """
    model = problem.model
    dense = np.ones(model.num_layers, bool)
    residency = Residency(experts=chosen, dense=dense, has_head=True, has_embedding=rule.is_eager)
    over = max(
        needed - budget
        for needed, budget in zip(bytes_by_gpu(problem, chosen), budgets, strict=True)
    )
    if over > 0:
        return Infeasible(
            reason=f"{problem.slots_per_layer} experts of every layer do not fit GPU memory",
            missing_bytes=over,
        )
    return host_checked(problem, residency)


def host_checked(problem: Problem, residency: Residency) -> Residency | Infeasible:
    """Return the residency. It is Infeasible if host memory cannot hold the weights that it has to,
    and no disk is stated that experts could be read from.

    These weights are those that the GPU does not hold, and all experts with ``keeps_host_copies``.
    """
    stated = problem.machine.cpu.memory_bytes
    behind = behind_bytes(problem.model, residency, keeps_copies=problem.keeps_host_copies)
    if stated is not None and behind > stated.effective:
        if problem.machine.disk is not None:
            return _beside_disk(problem, residency)
        missing = behind - int(stated.effective)
        copies = ", copies of experts on the GPU included" if problem.keeps_host_copies else ""
        reason = f"host memory would hold {format_bytes(behind)} of weights{copies}, has {format_bytes(stated.effective)}"
        return Infeasible(reason=reason, missing_bytes=missing)
    return residency


def _beside_disk(problem: Problem, residency: Residency) -> Residency | Infeasible:
    """Return the residency; Infeasible if host memory has no room for the weights that are no
    experts. Those are not read from the disk again and again.
    """
    room = shelf_bytes(problem.machine, problem.model, residency)
    if room >= 0:
        return residency
    return Infeasible(
        reason="host memory has no room for what is no expert, which stays there while experts are read from the disk",
        missing_bytes=-room,
    )
