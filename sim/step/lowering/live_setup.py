"""What a live run starts from: its cache, its rules and its working room."""

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.engine.task import NONE
from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score
from sim.policies.dispatch.rule import Rule
from sim.policies.foresight import CANDIDATE, Foresight, Predictions
from sim.policies.policy import Policy
from sim.policies.prefetch.base import Prefetch
from sim.policies.problem import Problem
from sim.policies.shares import gate_shares
from sim.step.lowering.beliefs import beliefs
from sim.step.lowering.decisions import surroundings
from sim.step.lowering.live_state import Live
from sim.step.lowering.slots import (
    ABSENT,
    CACHE_RULES,
    HELD,
    NUM_COUNTERS,
    RANDOM_STATE,
    REACH,
    SERVED,
    SLOT,
    Cached,
    held_of,
)
from sim.step.rules.around import BUFFERS
from sim.step.rules.spill_notes import SpillNotes, most_alike
from sim.step.rules.spilling import ROOM
from sim.workload.batch import Passes

NO_LIMIT = 2**62


def most_queued(predictions: Predictions, shape: tuple[int, ...]) -> int:
    """Return how often prefetches can be queued at most.

    Each prefetch is queued at most once at every gate from the one that names it to the one it is
    for.
    """
    num_gates = shape[0] * shape[1]
    named_at = np.repeat(np.arange(len(predictions.first) - 1), np.diff(predictions.first))
    layer = predictions.candidates["layer"].astype(np.int64)
    # A prefetch that is named at a start has all gates of the pass before its own.
    named_at = np.where(
        named_at < num_gates, named_at, (named_at - num_gates) * shape[1] - 1
    )  # the start of a pass
    return int((1 + (layer - named_at - 1) % shape[1]).sum()) + len(layer)


def predicted(prefetch: Prefetch, foresight: Foresight) -> Predictions:
    """What the prefetcher names at each gate of the run; nothing where it is not active."""
    if not prefetch.is_active:
        num_gates = foresight.tokens.shape[0] * foresight.tokens.shape[1]
        return Predictions(
            first=np.zeros(num_gates + 1, np.int64), candidates=np.empty(0, CANDIDATE)
        )
    return (
        foresight.once(prefetch, lambda: prefetch.predict(foresight))
        if prefetch.is_of_draw
        else prefetch.predict(foresight)
    )


def fresh_cache(
    policy: Policy, residency: Residency, predictions: Predictions, foresight: Foresight
) -> Cached:
    """Return the cache before the first pass.

    It holds the experts that the placement chose. A cache that starts empty or is emptied after
    each pass has as many free slots instead.
    """
    cache = policy.cache
    shape = residency.experts.shape
    slots = np.zeros(shape, SLOT)
    slots["status"] = np.where(residency.experts, HELD, 0)
    for name in ("copy", "looked_up", "freed_by", "last_use", "pinned_at", "used_at"):
        slots[name] = NONE
    free = np.zeros((shape[0] + 1, foresight.problem.num_gpus), np.int64)
    if cache.is_emptied or cache.starts_empty:
        slots["status"] = ABSENT
        layers, experts = np.nonzero(residency.experts)
        np.add.at(
            free,
            (
                shape[0] if cache.is_global else layers,
                foresight.problem.gpu_of_expert[layers, experts],
            ),
            1,
        )
    counters = np.zeros(NUM_COUNTERS, np.int64)
    # Odd, and so not 0, from which this sequence never gets away.
    counters[RANDOM_STATE] = foresight.seed * 2 + 1
    counters[REACH] = predictions.reach
    counters[SERVED] = NONE
    return Cached(
        slots=slots,
        scores=np.zeros(shape),
        free=free.ravel(),
        coming=np.zeros(slots.size, np.int64),
        counters=counters,
        # Without a predictor, popularity is all that is known.
        forecast=_known(foresight) if predictions.forecast is None else predictions.forecast,
        gates=gate_shares(foresight)
        if cache.score in (Score.SMOOTHED_GATE, Score.SELECTIVE_GATE)
        else np.zeros((0, 0, 0), np.float32),
        next_use=next_uses(foresight.tokens, foresight.later_uses)
        if cache.score is Score.NEXT_USE
        else np.zeros((0, 0, 0), np.int32),
        **held_of(slots, is_global=cache.is_global),
        rules=_cache_rules(cache, foresight.problem),
    )


def _cache_rules(cache: Cache, problem: Problem) -> NDArray[np.void]:
    """Return the cache's settings as compiled code reads them, one record of CACHE_RULES."""
    rules = np.zeros(1, CACHE_RULES)
    rules["score"] = int(Score.RECENCY if cache.score is None else cache.score)
    rules["is_global"] = cache.is_global
    rules["alpha"] = cache.alpha
    rules["kept"] = cache.kept_per_choice * problem.model.top_k
    rules["writes_back"] = cache.writes_back
    rules["is_emptied"] = cache.is_emptied
    return rules


def _known(foresight: Foresight) -> NDArray[np.float32]:
    """The forecast of a run without a predictor: the popularity, one row for all passes."""
    return foresight.problem.popularity.astype(np.float32)[np.newaxis]


def next_uses(
    tokens: NDArray[np.int32], later_uses: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Return the next pass that selects each expert, from each pass on [pass + 1, layer, expert].

    The last row is ``later_uses`` [layer, expert]. Without it, the number of passes says that no
    further pass selects the expert.
    """
    num_passes = len(tokens)
    following = np.empty((num_passes + 1, *tokens.shape[1:]), np.int32)
    following[num_passes] = num_passes if later_uses is None else later_uses
    for index in range(num_passes - 1, -1, -1):
        following[index] = np.where(tokens[index] > 0, index, following[index + 1])
    return following


def _rules(policy: Policy, problem: Problem) -> NDArray[np.void]:
    """Return the settings of dispatch, prefetch and overlap as compiled code reads them, one
    record.

    Raises InputError for settings that do not go together.
    """
    prefetch = policy.prefetch
    values = {
        "dispatch": int(policy.dispatch.rule),
        "drops_stale": prefetch.drops_stale,
        "num_chunks": prefetch.num_chunks,
        "max_waiting": NO_LIMIT
        if prefetch.max_waiting is None
        else prefetch.max_waiting * problem.num_gpus,
        "lookup_ns": prefetch.lookup_ns,
        "is_lookup_awaited": prefetch.is_lookup_awaited,
        "is_copy_awaited": prefetch.is_copy_awaited,
        "pauses_on_miss": prefetch.pauses_on_miss and problem.num_gpus > 1,
        "update_ns": prefetch.update_ns,
        "copies_in_turn": prefetch.copies_in_turn,
        "in_turn": problem.overlap.in_turn,
        "loads_all": problem.overlap.loads_all,
    }
    if values["pauses_on_miss"] and not prefetch.drops_stale:
        raise InputError(f"{policy.name}: drops_stale must be true where a miss pauses prefetching")
    # Whole numbers under the parts' own names: compiled code knows no others.
    return np.array([tuple(values.values())], [(name, "i8") for name in values])


def fresh_live(
    policy: Policy,
    problem: Problem,
    predictions: Predictions,
    shape: tuple[int, ...],
    passes: Passes,
    most_tokens: int,
) -> Live:
    """Return the rules, candidates and working room of a run; ``shape`` is [pass, layer, expert].

    No expert gets more than ``most_tokens``.
    """
    num_experts = shape[2]
    num_gates = shape[0] * shape[1]
    spills = policy.dispatch.rule == Rule.SPILL
    fixed = surroundings(policy, problem, passes.num_tokens).fixed
    # Each copy has a slot of its own.
    fixed[BUFFERS] = num_experts
    missing = num_gates + shape[0] + 1 - len(predictions.first)
    believed = beliefs(
        problem, policy.dispatch, most_tokens, is_weighed=len(predictions.chances) > 0
    )
    num_shapes = believed.shape[1]
    most = most_alike(problem, passes.num_tokens) + 1 if spills else 0
    return Live(
        rules=_rules(policy, problem),
        first=np.append(predictions.first, np.full(missing, len(predictions.candidates))),
        candidates=predictions.candidates,
        believed=believed,
        operations=np.zeros((shape[1] * num_experts + 1, 2), np.int64),
        on_demand=np.full(problem.num_gpus, NONE),
        turn=np.full(1, NONE),
        fixed=fixed,
        spilled=np.zeros(shape if spills else (0, 0, 0), np.bool_),
        is_miss=np.zeros(num_experts, np.bool_),
        is_held=np.zeros(num_experts, np.bool_),
        copies=np.zeros(num_experts, np.int64),
        priced=np.zeros((3, num_experts), np.int64),
        room=np.empty((ROOM, num_experts), np.int64),
        asked=np.zeros(num_experts + 1, np.int64),
        num_asked=np.zeros(1, np.int64),
        plan=np.zeros(num_experts, np.uint8),
        notes=SpillNotes(
            np.zeros((num_shapes, 4), np.int64), np.zeros((num_shapes, most, most, 3), np.int64)
        ),
        named=np.zeros((len(predictions.chances), num_experts + 1), np.int64),
        num_named=np.zeros(len(predictions.chances), np.int64),
        due=np.zeros((len(predictions.chances), num_experts), np.int64),
        needs=np.zeros(2 * len(predictions.chances) + 1, np.int64),
        expected=predictions.expected,
        chances=predictions.chances,
    )
