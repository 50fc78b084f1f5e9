"""Turn a scenario's decisions into one program."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Machine
from sim.costs.host_room import DiskReads, HostShelf, disk_read_ns
from sim.engine.compilation import kernel
from sim.engine.program import FULL_RATE, Platform, Program
from sim.engine.task import NONE, Resource
from sim.policies.actions import Action, LayerMode
from sim.policies.problem import Problem
from sim.room import OWN_MEMORY, Room
from sim.step.lowering.carried import emit_carried_run
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.draft import (
    DISK,
    H2D,
    JOIN_A,
    JOIN_B,
    LAYER,
    NUM_JOINS,
    PASS,
    PREVIOUS,
    ROW,
    RUN,
    SHARE,
    SHELF,
    STATE_SIZE,
    WORK,
    Draft,
    N,
    Sheet,
)
from sim.step.lowering.job import table
from sim.step.lowering.passes import emit_run
from sim.step.lowering.prices import Prices, price
from sim.workload.batch import Passes

RESOURCES = tuple(Resource(name=name) for name in ("gpu", "h2d", "d2h", "cpu", "host"))
"""The resources of one GPU and its host, all in order.

Their numbers are GPU, H2D, D2H, CPU and HOST of ``draft``.
"""
FIRST_PEER = 6
"""Resource number of GPU 1: behind those of one GPU, its host, and the matcher of a live run."""
_FETCH = int(Action.FETCH)
_SWAP = int(Action.SWAP)
MATCHER_RESOURCE = Resource(name="matcher")
MAX_TASKS_PER_LAYER = 15
"""Tasks of a layer besides experts: overhead, layer copy, move, attention, two gates, feed-forward,
two activation copies, a hand-over, four calls of groups of experts, and one to spare."""
MAX_TASKS_PER_PEER = 6
"""The tasks of a layer on each further GPU: a copy, a call, and hidden states there and back."""
MAX_TASKS_PER_PASS = 4
MAX_DEPENDENCIES = 4
"""A task waits for at most two ends of the layer before, a copy, and in a serial pass for the task
before.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """A program, and the last task of each pass."""

    program: Program
    last_task: NDArray[np.int64]


def lower(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], decisions: Decisions
) -> Lowered:
    """All tasks of the run, in the order in which they are submitted.

    Raises InputError for copies without a buffer.
    """
    prices = checked_prices(problem, passes, tokens, decisions)
    return emit(problem, passes, tokens, decisions, prices)


def checked_prices(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], decisions: Decisions
) -> Prices:
    """Prices of what was decided. Raises InputError for copies without a buffer."""
    _check_buffers(problem, decisions)
    most_tokens = int(tokens.max(initial=0))
    return price(problem, passes, decisions.modes, decisions.head_modes, most_tokens)


def _check_buffers(problem: Problem, decisions: Decisions) -> None:
    if not problem.overlap.staging_experts and (decisions.actions == Action.FETCH).any():
        raise InputError("staging_experts must be at least 1 where experts are fetched, got 0")
    streams = (decisions.modes == LayerMode.STREAM).any() or (
        decisions.head_modes == LayerMode.STREAM
    ).any()
    if not problem.overlap.staging_layers and streams:
        raise InputError("staging_layers must be at least 1 where layers are streamed, got 0")


def emit(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    prices: Prices,
) -> Lowered:
    """Return all tasks of the run, given their prices."""
    gpus = problem.num_gpus
    draft = unemitted(problem, passes, tokens, decisions, prices)
    if decisions.foretold is not None or (decisions.actions == Action.DEFERRED).any():
        assert gpus == 1, "experts carried into the next layer on several GPUs"
        foretold = (
            np.zeros(decisions.modes.shape, bool)
            if decisions.foretold is None
            else decisions.foretold
        )
        emit_carried_run(draft, foretold)
    else:
        emit_run(draft)
    program = Program(
        platform=platform(problem.machine, resources_of(problem, decisions, RESOURCES)),
        tasks=table(draft, 0, int(draft.state[N])),
    )
    return Lowered(program=program, last_task=draft.last_task)


def unemitted(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    prices: Prices,
) -> Draft:
    """Return a draft without tasks, with room for all tasks of the decisions."""
    gpus = problem.num_gpus
    num_resources = len(with_peers(RESOURCES, gpus))
    sheet = sheet_of(problem, passes, tokens, decisions, (prices, num_resources))
    return fresh_draft(problem, sheet, _most_tasks(decisions, gpus))


def fresh_draft(
    problem: Problem,
    sheet: Sheet,
    num_tasks: int,
    *,
    num_awaited: int = 0,
    num_copies: int = 0,
    room: Room = OWN_MEMORY,
) -> Draft:
    """Return a draft without tasks, with room for ``num_tasks`` of them.

    The end of a layer waits for ``num_awaited`` tasks besides the last task of each lane. A task
    waits for up to ``num_copies`` copies besides what any task may wait for.
    """
    gpus = problem.num_gpus
    overlap = problem.overlap
    # The last task on each further GPU, and a copy or hidden states to it.
    most = MAX_DEPENDENCIES + 2 * (gpus - 1) + num_copies
    num_joins = gpus - 1 + num_awaited
    state = np.zeros(STATE_SIZE + num_joins + 2 * (gpus - 1), np.int64)
    # The first tasks wait for nothing.
    state[[PREVIOUS, JOIN_A, JOIN_B]] = NONE
    state[STATE_SIZE : STATE_SIZE + num_joins] = NONE
    state[NUM_JOINS] = num_joins
    return Draft(
        rows=room.empty("rows", num_tasks, ROW),
        dependencies=room.empty("dependencies", num_tasks * most, np.int64),
        state=state,
        sheet=sheet,
        expert_ring=np.full((gpus, max(1, overlap.staging_experts)), NONE),
        layer_ring=np.full((gpus, max(1, overlap.staging_layers)), NONE),
        last_task=np.zeros(len(sheet.passes), np.int64),
    )


def resources_of(
    problem: Problem, decisions: Decisions, resources: tuple[Resource, ...]
) -> tuple[Resource, ...]:
    """Return the resources of all GPUs and, if the disk is read, the disk as the last one.

    The disk picks its next read by the discipline of copies to the GPU.
    """
    found = with_peers(resources, problem.num_gpus)
    if decisions.shelf is None:
        return found
    return (*found, Resource(name="disk", discipline=resources[H2D].discipline))


def with_peers(resources: tuple[Resource, ...], num_gpus: int) -> tuple[Resource, ...]:
    """Return the resources of one GPU and its host, followed by those of further GPUs.

    Each further GPU has a stream and two directions of copies, as GPU 0 has them.
    """
    if num_gpus == 1:
        return resources
    # The matcher's place is kept where there is none, so that GPU 1 has the same number in every run.
    filled = (*resources, MATCHER_RESOURCE)[:FIRST_PEER]
    peers = (
        replace(resource, name=f"{resource.name}{gpu}")
        for gpu in range(1, num_gpus)
        for resource in resources[:3]
    )
    return (*filled, *peers)


def platform(machine: Machine, resources: tuple[Resource, ...]) -> Platform:
    """Return the resources with the machine's interference.

    The interference of GPU 0 and its link holds for each GPU and its link.
    """
    if not machine.interference:
        return Platform(resources=resources)
    factors = np.full((len(resources), len(resources)), FULL_RATE, np.int64)
    for pair in machine.interference:
        for slows, busy in product(_named(resources, pair.slows), _named(resources, pair.busy)):
            # A rate of 0 would stop a task for good.
            factors[slows, busy] = max(1, round(pair.rate_fraction.effective * FULL_RATE))
    return Platform(resources=resources, rate_factors=factors)


def sheet_of(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    priced: tuple[Prices, int],
) -> Sheet:
    """Return decisions and prices as compiled code reads them.

    An expert that is copied early has the action EARLY, selected or not. ``priced`` holds the
    prices and the number of resources, which is also the resource number of the disk.
    """
    prices, num_resources = priced
    is_moe = np.array([layer.is_moe for layer in problem.model.layers])
    actions = (
        decisions.actions
        if decisions.early is None
        else np.where(decisions.early, np.uint8(Action.EARLY), decisions.actions)
    )
    return Sheet(
        tokens=tokens,
        actions=actions,
        passes=_records(
            PASS,
            step=passes.step,
            num_tokens=passes.num_tokens,
            num_sequences=passes.num_sequences,
            is_serial=problem.overlap.is_serial(passes.is_prefill),
            head_mode=decisions.head_modes,
            head=prices.head,
        ),
        layers=_records(
            LAYER,
            shape=prices.shape_of,
            is_moe=is_moe,
            fetch=prices.fetch,
            evict=prices.evict,
            expert_bytes=prices.expert_bytes,
            is_border=np.zeros(len(is_moe))
            if problem.layer_split is None
            else problem.layer_split.borders,
            read=np.zeros(len(is_moe))
            if decisions.shelf is None
            else disk_read_ns(problem.machine, prices.expert_bytes),
        ),
        work=_records(
            WORK, mode=decisions.modes, attention=prices.attention, gate=prices.gate, ffn=prices.ffn
        ),
        experts=np.stack([prices.expert_gpu, prices.expert_cpu]),
        activations=prices.activations,
        shares=_records(SHARE, fetch=prices.share_fetch, num_bytes=prices.share_bytes),
        run=_records(
            RUN,
            head_fetch=np.array([prices.head_fetch]),
            head_bytes=np.array([prices.head_bytes]),
            activation_bytes=np.array([prices.activation_bytes]),
            group_gpu=np.array([prices.group_gpu]),
            least_gpu=np.array([prices.least_gpu]),
            group_cpu=np.array([prices.group_cpu]),
            layer_overhead=np.array([prices.layer_overhead]),
            step_overhead=np.array([prices.step_overhead]),
            num_gpus=np.array([problem.num_gpus]),
            first_peer=np.array([FIRST_PEER]),
            is_direct=np.array([prices.is_direct]),
            hand_over=np.array([problem.overlap.hand_over_ns]),
        ),
        leaving=np.zeros((0, 0, 0), np.int16) if decisions.leaving is None else decisions.leaving,
        **_shelved(problem, decisions.shelf, num_resources),
    )


def _shelved(problem: Problem, shelf: HostShelf | None, resource: int) -> dict[str, Any]:
    """Return ``shelf`` and ``disk`` of a Sheet; the shelf is empty if host memory holds every
    expert.

    ``resource`` is the disk's resource number. Of the experts that are there at the start, the less
    popular ones count as used longer ago.
    """
    if shelf is None:
        return {"shelf": np.zeros((0, 0), SHELF), "disk": np.zeros(1, DISK)}
    order = np.argsort(problem.popularity, axis=None, kind="stable")
    there = order[shelf.experts.ravel()[order]]
    older, newer = np.full((2, order.size), NONE)
    older[there[1:]] = there[:-1]
    newer[there[:-1]] = there[1:]
    shape = shelf.experts.shape
    records = _records(
        SHELF,
        is_there=shelf.experts.astype(np.int64),
        read=np.full(shape, NONE),
        older=older.reshape(shape),
        newer=newer.reshape(shape),
    )
    disk = _records(
        DISK,
        resource=np.array([resource]),
        left_bytes=np.array([shelf.left_bytes]),
        keeps=np.array([problem.disk_reads is DiskReads.CACHED]),
        oldest=np.array([there[0] if len(there) else NONE]),
        newest=np.array([there[-1] if len(there) else NONE]),
    )
    return {"shelf": records, "disk": disk}


def _records(dtype: np.dtype[np.void], **columns: NDArray[Any]) -> NDArray[np.void]:
    records = np.empty(next(iter(columns.values())).shape, dtype)
    for name, column in columns.items():
        records[name] = column
    return records


def _named(resources: tuple[Resource, ...], name: str) -> list[int]:
    """Return the numbers of the resources of that name, one for each GPU that has it."""
    return [
        number
        for number, resource in enumerate(resources)
        if resource.name == name or resource.name.rstrip("0123456789") == name
    ]


def _most_tasks(decisions: Decisions, num_gpus: int) -> int:
    return (
        int(
            _tasks_of_experts(decisions.actions.ravel())
            + (0 if decisions.early is None else np.count_nonzero(decisions.early))
            + (0 if decisions.shelf is None else _most_reads(decisions))
        )
        + decisions.modes.size * (MAX_TASKS_PER_LAYER + MAX_TASKS_PER_PEER * (num_gpus - 1))
        + len(decisions.modes) * MAX_TASKS_PER_PASS
    )


def _most_reads(decisions: Decisions) -> int:
    """Return the most reads from the disk that a run may need.

    Each expert that is asked for may have to be read, and so may every expert of a streamed layer.
    """
    num_experts = decisions.actions.shape[2]
    streamed = np.count_nonzero(decisions.modes == LayerMode.STREAM)
    early = 0 if decisions.early is None else np.count_nonzero(decisions.early)
    return int(np.count_nonzero(decisions.actions) + streamed * num_experts + early)


@kernel
def _tasks_of_experts(actions: Any) -> int:
    """Return the number of tasks of experts with those actions: a run each, and the copies of
    weights.
    """
    number = 0
    for place in range(len(actions)):
        action = actions[place]
        number += (action != 0) + (action == _FETCH) + 2 * (action == _SWAP)
    return number
