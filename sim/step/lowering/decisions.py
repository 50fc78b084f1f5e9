"""Asking a policy's parts what to do in every layer of every pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.costs.host_room import HostShelf, first_shelf, reads_disk
from sim.costs.memory import Residency
from sim.engine.task import NONE
from sim.model.model import layer_shapes
from sim.policies.actions import Action, LayerMode
from sim.policies.cache.state import CacheState
from sim.policies.dispatch.rule import Rule
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.routing.base import tokens_per_expert
from sim.step.lowering.beliefs import beliefs
from sim.step.lowering.early import NO_EARLY, early_of
from sim.step.lowering.misses import Weighing, decide_misses
from sim.step.rules.around import Around, around
from sim.step.rules.assign import assign
from sim.step.rules.spill_notes import most_alike
from sim.workload.batch import Passes

_RESIDENT = int(Action.RESIDENT)
_CPU = int(Action.CPU)
_FETCHING = int(Rule.FETCH)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pipelined:
    """What pipelined layers need besides actions.

    ``paged`` [layer, expert] marks experts that are copied whatever the gates select. ``kv_on_gpu``
    [layer] says whether the KV cache of a layer is on the GPU.
    """

    paged: NDArray[np.bool_]
    kv_on_gpu: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """What a policy does in every pass of a run.

    ``actions`` [pass, layer, expert] are of Action; ``modes`` [pass, layer] and ``head_modes``
    [pass] of LayerMode. If layers run by prediction, ``foretold`` [pass, layer] marks them, and
    ``tokens`` [pass, layer, expert] are what experts get. ``pipelined`` is there if layers are. The
    others but ``shelf`` are [pass, layer, expert]. ``spilled`` marks experts on the CPU that the
    GPU holds (None: there are none). ``early`` marks experts whose copies begin before their gate,
    selected or not (None: none). ``leaving`` is the expert whose slot one with the action SWAP
    takes (NONE: a free slot). ``shelf`` is what host memory holds at the start, if it has no room
    for all experts.
    """

    actions: NDArray[np.uint8]
    modes: NDArray[np.uint8]
    head_modes: NDArray[np.uint8]
    foretold: NDArray[np.bool_] | None = None
    tokens: NDArray[np.int32] | None = None
    pipelined: Pipelined | None = None
    spilled: NDArray[np.bool_] | None = None
    early: NDArray[np.bool_] | None = None
    leaving: NDArray[np.int16] | None = None
    shelf: HostShelf | None = None


def decide_all(
    policy: Policy, residency: Residency, foresight: Foresight, state: CacheState | None = None
) -> Decisions:
    """Decide what the policy does in a run, including what it predicts and defers.

    A cache without a score goes on from ``state``, which this call changes; None starts it anew.
    """
    problem = foresight.problem
    passes = foresight.passes
    if not policy.dispatch.foretells:
        decisions = decide(policy, problem, residency, passes, foresight.tokens, state)
    else:
        decisions = _foretelling(policy, residency, foresight, state)
    if problem.overlap.deferred:
        may_defer = deferrable(
            foresight, problem.overlap.deferred, _followed(problem, decisions.modes)
        )
        # Only the CPU's experts: what the GPU runs is done by the time the next layer begins.
        decisions.actions[(decisions.actions == Action.CPU) & may_defer] = Action.DEFERRED
    return decisions


def decide(
    policy: Policy,
    problem: Problem,
    residency: Residency,
    passes: Passes,
    tokens: NDArray[np.int32],
    state: CacheState | None = None,
) -> Decisions:
    """Decide what the policy does if experts get ``tokens`` [pass, layer, expert]; its rules know
    nothing else of the routing. ``state`` is as in ``decide_all``.
    """
    modes = np.ascontiguousarray(policy.dispatch.layer_modes(residency, passes.num_tokens))
    actions = np.zeros(tokens.shape, np.uint8)
    is_held = np.zeros(tokens.shape, np.bool_)
    early = early_of(policy, problem, residency, passes, modes)
    leaving = None
    if policy.cache.is_static:
        weighing = weighing_of(policy, problem, passes.num_tokens, int(tokens.max(initial=0)))
        held = held_after_prompt(policy, problem, residency, passes, tokens)
        if held is residency.experts:
            decide_misses(tokens, held, weighing, early, actions)
            is_held = np.broadcast_to(held, tokens.shape)
        else:
            # What moves behind the prompt is no miss of it: the prompt fetches all that is missing.
            for rows, experts, rule in (
                (passes.is_prefill, residency.experts, _FETCHING),
                (~passes.is_prefill, held, weighing.rule),
            ):
                chosen = actions[rows]
                beside = weighing.beside
                own = beside._replace(dense=beside.dense[rows], num_tokens=beside.num_tokens[rows])
                fate = weighing._replace(rule=rule, beside=own)
                decide_misses(tokens[rows], experts, fate, NO_EARLY, chosen)
                actions[rows] = chosen
                is_held[rows] = experts
    else:
        leaving = _Replay(policy, problem, residency, state).run(passes, tokens, actions, is_held)
        actions *= tokens > 0  # IDLE, which is 0, where no token selects
    _follow_layers(actions, modes, tokens)
    head_modes = policy.dispatch.head_modes(residency, passes.num_tokens)
    return Decisions(
        actions=actions,
        modes=modes,
        head_modes=head_modes,
        pipelined=_pipelined(policy, problem, residency, modes),
        spilled=spilled_of(policy, actions, modes, is_held),
        early=early.experts if len(early.experts) else None,
        leaving=leaving,
        shelf=shelf_of(problem, residency),
    )


def shelf_of(problem: Problem, residency: Residency) -> HostShelf | None:
    """Return the experts in host memory at the start; None if nothing is read from a disk."""
    machine = problem.machine
    model = problem.model
    keeps_copies = problem.keeps_host_copies
    if not reads_disk(machine, model, residency, keeps_copies=keeps_copies):
        return None
    return first_shelf(machine, model, residency, problem.popularity)


def surroundings(policy: Policy, problem: Problem, num_tokens: NDArray[np.int32]) -> Around:
    """Return what the dispatch rule knows besides expert prices; ``num_tokens`` is [pass]."""
    return around(
        problem,
        num_tokens,
        may_spill=policy.dispatch.spills_residents and not policy.cache.writes_back,
    )


def weighing_of(
    policy: Policy, problem: Problem, num_tokens: NDArray[np.int32], max_tokens: int
) -> Weighing:
    """Return what the dispatch rule knows in passes of ``num_tokens`` [pass]. No expert gets more
    than ``max_tokens``.
    """
    return Weighing(
        rule=int(policy.dispatch.rule),
        shape_of=layer_shapes(problem.model)[1],
        believed=beliefs(problem, policy.dispatch, max_tokens),
        beside=surroundings(policy, problem, num_tokens),
        most_alike=most_alike(problem, num_tokens),
    )


def spilled_of(
    policy: Policy, actions: NDArray[np.uint8], modes: NDArray[np.uint8], is_held: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """Return experts [pass, layer, expert] on the CPU that the GPU held at their gate; None unless
    the dispatch rule is SPILL.
    """
    if policy.dispatch.rule != Rule.SPILL:
        return None
    spilled: NDArray[np.bool_] = actions == Action.CPU
    spilled &= is_held
    is_resident = modes == LayerMode.GPU
    if not is_resident.all():
        spilled &= is_resident[:, :, None]
    return spilled


def _pipelined(
    policy: Policy, problem: Problem, residency: Residency, modes: NDArray[np.uint8]
) -> Pipelined | None:
    """Return what pipelined layers need; None without any. Raises InputError if
    residents change.
    """
    if not (modes == LayerMode.PIPELINE).any():
        return None
    if not policy.keeps_residency:
        raise InputError(
            f"{policy.name}: pipelined layers need residents that stay; give it the cache static"
        )
    counts = np.array([layer.num_experts for layer in problem.model.layers])
    absent = ~residency.experts & (np.arange(residency.experts.shape[1]) < counts[:, None])
    return Pipelined(
        paged=absent & (policy.dispatch.rule == Rule.FETCH),
        kv_on_gpu=residency.dense if residency.kv is None else residency.kv,
    )


def held_after_prompt(
    policy: Policy,
    problem: Problem,
    residency: Residency,
    passes: Passes,
    tokens: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """The experts [layer, expert] that the GPU holds in decode; ``residency.experts`` if none moves."""
    if not policy.placement.is_remade or not passes.is_prefill.any():
        return residency.experts
    return policy.placement.after_prompt(
        problem, residency, tokens[passes.is_prefill].sum(axis=0, dtype=np.int64)
    )


class _Replay:
    """A cache run over the passes in order, all experts of a layer at once; a layer without slots
    has nothing to swap.
    """

    def __init__(
        self, policy: Policy, problem: Problem, residency: Residency, state: CacheState | None
    ) -> None:
        self._policy = policy
        self._problem = problem
        self._state = state or policy.cache.start(residency)
        self._has_slots = [bool(row.any()) for row in residency.experts]

    def run(
        self,
        passes: Passes,
        tokens: NDArray[np.int32],
        actions: NDArray[np.uint8],
        is_held: NDArray[np.bool_],
    ) -> NDArray[np.int16]:
        """Decide every pass from its gates: fill ``actions``, mark selected experts that the GPU
        held in ``is_held``, and return ``leaving`` as in Decisions.
        """
        leaving = np.full(tokens.shape, NONE, np.int16)
        for index in range(len(tokens)):
            rows = tokens[index], actions[index], is_held[index], leaving[index]
            self.step(*rows, is_prefill=bool(passes.is_prefill[index]), is_foretold=False)
        return leaving

    def held(self) -> NDArray[np.bool_]:
        """Return which experts the GPU holds [layer, expert]."""
        if self._state.residents is not None:
            return self._state.residents
        everything = np.arange(self._problem.model.num_experts)
        return np.stack(
            [
                self._state.classify(layer, everything)
                for layer in range(self._problem.model.num_layers)
            ]
        )

    def step(
        self,
        tokens: NDArray[np.int32],
        actions: NDArray[np.uint8],
        is_held: NDArray[np.bool_],
        leaving: NDArray[np.int16],
        *,
        is_prefill: bool,
        is_foretold: bool,
    ) -> None:
        """Decide one pass [layer, expert]; if the pass is foretold, its misses go to the CPU."""
        # The common case of a prediction, and a loop over layers is what takes its time.
        if is_foretold and not is_prefill and self._state.residents is not None:
            self._step_at_once(tokens, actions, is_held, self._state.residents)
            return
        swapped = Action.SWAP if self._policy.cache.writes_back else Action.FETCH
        for layer in self._problem.model.moe_layers:
            row = tokens[layer]
            selected = np.flatnonzero(row)
            brought, replaced = self._state.reallocate(layer, row, is_prefill=is_prefill)
            is_hit = self._state.classify(layer, selected)
            is_miss = np.zeros(len(row), bool)
            is_miss[selected[~is_hit]] = True
            if is_foretold:
                chosen = np.where(is_miss, Action.CPU, Action.IDLE).astype(np.uint8)
            else:
                chosen = assign(self._policy.dispatch, layer, row, is_miss, self._problem)
            hits = selected[is_hit]
            is_held[layer, hits] = True
            chosen[hits[(chosen[hits] != Action.CPU) | self._policy.cache.writes_back]] = (
                Action.RESIDENT
            )
            fetched = np.flatnonzero(is_miss & (chosen == Action.FETCH))
            left = self._state.admit(layer, fetched)
            chosen[fetched] = swapped if self._has_slots[layer] and len(left) else Action.FETCH
            chosen[brought] = swapped
            leaving[layer, fetched[: len(left)]] = left[: len(fetched)]
            leaving[layer, brought] = replaced
            actions[layer] = chosen

    def _step_at_once(
        self,
        tokens: NDArray[np.int32],
        actions: NDArray[np.uint8],
        is_held: NDArray[np.bool_],
        residents: NDArray[np.bool_],
    ) -> None:
        """Decide a decode step that is foretold and moves nothing: all its layers together."""
        layers = np.array(self._problem.model.moe_layers)
        is_active = tokens[layers] > 0
        is_resident = residents[layers]
        actions[layers] = np.where(
            is_active, np.where(is_resident, _RESIDENT, _CPU), 0
        )  # IDLE is 0
        is_held[layers] |= is_active & is_resident


def _foretelling(
    policy: Policy, residency: Residency, foresight: Foresight, state: CacheState | None
) -> Decisions:
    """Decide a run in which the policy says before each pass what it runs by prediction."""
    passes = foresight.passes
    tokens = foresight.tokens.copy()
    modes = np.ascontiguousarray(policy.dispatch.layer_modes(residency, passes.num_tokens))
    # Asked for what it refuses: copies ahead of gates do not go with predictions.
    early_of(policy, foresight.problem, residency, passes, modes)
    actions = np.zeros(tokens.shape, np.uint8)
    foretold = np.zeros(modes.shape, bool)
    is_held = np.zeros(tokens.shape[1:], bool)
    leaving = np.full(tokens.shape, NONE, np.int16)
    # What a pass predicts depends on what the GPU holds by then: passes are decided in order.
    replay = _Replay(policy, foresight.problem, residency, state)
    can_precede = np.zeros(modes.shape, bool)
    can_precede[:, 1:] = _followed(foresight.problem, modes)[:, :-1]
    for index in range(len(passes)):
        found = policy.dispatch.foretell(foresight, index, replay.held(), can_precede[index])
        if found is not None:
            tokens[index] = found.tokens
            foretold[index] = found.layers
        rows = tokens[index], actions[index], is_held, leaving[index]
        replay.step(*rows, is_prefill=bool(passes.is_prefill[index]), is_foretold=found is not None)
    _follow_layers(actions, modes, tokens)
    actions[(actions == Action.CPU) & foretold[:, :, None]] = Action.AHEAD
    head_modes = policy.dispatch.head_modes(residency, passes.num_tokens)
    return Decisions(
        actions=actions,
        modes=modes,
        head_modes=head_modes,
        foretold=foretold,
        tokens=tokens,
        leaving=leaving,
    )


def _followed(problem: Problem, modes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the MoE layers on the GPU that another such layer follows and joins [pass, layer]."""
    is_moe = np.array([layer.is_moe for layer in problem.model.layers]) & (modes == LayerMode.GPU)
    return np.asarray(is_moe & np.append(is_moe[:, 1:], np.zeros((len(modes), 1), bool), axis=1))


def deferrable(
    foresight: Foresight, deferred: int, is_followed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which experts may be deferred [pass, layer, expert]: in a decode step, those that no
    token has among its top_k − ``deferred`` weightiest. A layer must follow (``is_followed``).
    """
    model = foresight.problem.model
    passes = foresight.passes
    kept = max(0, foresight.expert_ids.shape[3] - deferred)
    urgent = (
        tokens_per_expert(model, foresight.expert_ids[..., :kept], passes)
        if kept
        else np.zeros(foresight.tokens.shape, np.int32)
    )
    return np.asarray((urgent == 0) & (is_followed & ~passes.is_prefill[:, None])[:, :, None])


def _follow_layers(
    actions: NDArray[np.uint8], modes: NDArray[np.uint8], tokens: NDArray[np.int32]
) -> None:
    """Run experts where their layer runs (CPU or streamed); page misses of pipelined layers."""
    if (modes == LayerMode.GPU).all():
        return
    is_active = tokens > 0
    actions[(modes == LayerMode.CPU)[:, :, None] & is_active] = Action.CPU
    actions[(modes == LayerMode.STREAM)[:, :, None] & is_active] = Action.RESIDENT
    actions[(modes == LayerMode.PIPELINE)[:, :, None] & (actions == Action.FETCH)] = Action.PAGED
