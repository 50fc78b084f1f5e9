"""A scenario's decisions as one program."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from sim.lowering.decisions import Decisions
from sim.lowering.emit import JOIN_A, JOIN_B, LAYER, PASS, PREVIOUS, ROW, RUN, WORK, Columns, M, N, Sheet, emit_run
from sim.lowering.prices import Prices, price
from sim.policies.base import Action, Problem
from sim.program import FULL_RATE, Platform, Program
from sim.task import NONE, Resource, TaskTable
from sim.workload import Passes

RESOURCE_NAMES = ("gpu", "h2d", "d2h", "cpu", "host")
MAX_TASKS_PER_LAYER = 9
"""Tasks of a layer besides experts: overhead, layer copy, move, attention, gate, feed-forward, two activation copies, and one to spare."""
MAX_TASKS_PER_PASS = 4
MAX_DEPENDENCIES = 4
"""A task waits for at most two ends of the layer before, a copy, and in a serial pass for the task before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """A program, and the last task of each pass."""

    program: Program
    last_task: NDArray[np.int64]


def lower(problem: Problem, passes: Passes, tokens: NDArray[np.int32], decisions: Decisions) -> Lowered:
    """All tasks of the run, in the order in which they are submitted."""
    prices = price(problem, passes, decisions.modes, decisions.head_modes, int(tokens.max(initial=0)))
    return emit(problem, passes, tokens, decisions, prices)


def emit(problem: Problem, passes: Passes, tokens: NDArray[np.int32], decisions: Decisions, prices: Prices) -> Lowered:
    """The same, with the prices at hand."""
    out = _columns(_most_tasks(decisions))
    state = np.zeros(10, np.int64)
    state[[PREVIOUS, JOIN_A, JOIN_B]] = NONE
    rings = (np.full(max(1, problem.overlap.staging_experts), NONE), np.full(max(1, problem.overlap.staging_layers), NONE))
    last_task = np.zeros(len(passes), np.int64)
    emit_run(out, state, sheet_of(problem, passes, tokens, decisions, prices), rings, last_task)
    program = Program(platform=platform(problem.machine), tasks=_table(out, int(state[N]), int(state[M])))
    return Lowered(program=program, last_task=last_task)


def platform(machine: Machine) -> Platform:
    """The resources of one GPU and its host, with the machine's interference."""
    resources = tuple(Resource(name=name) for name in RESOURCE_NAMES)
    if not machine.interference:
        return Platform(resources=resources)
    factors = np.full((len(resources), len(resources)), FULL_RATE, np.int64)
    for pair in machine.interference:
        if pair.busy in RESOURCE_NAMES and pair.slows in RESOURCE_NAMES:
            place = RESOURCE_NAMES.index(pair.slows), RESOURCE_NAMES.index(pair.busy)
            factors[place] = max(1, round(pair.rate_fraction.effective * FULL_RATE))
    return Platform(resources=resources, rate_factors=factors)


def sheet_of(problem: Problem, passes: Passes, tokens: NDArray[np.int32], decisions: Decisions, prices: Prices) -> Sheet:
    """Decisions and prices as compiled code reads them."""
    is_moe = np.array([layer.is_moe for layer in problem.model.layers])
    return Sheet(
        tokens=tokens,
        actions=decisions.actions,
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
            layer_fetch=prices.layer_fetch,
            expert_bytes=prices.expert_bytes,
            layer_bytes=prices.layer_bytes,
        ),
        work=_records(WORK, mode=decisions.modes, attention=prices.attention, gate=prices.gate, ffn=prices.ffn),
        experts=np.stack([prices.expert_gpu, prices.expert_cpu]),
        activations=np.stack([prices.activations_h2d, prices.activations_d2h]),
        run=_records(
            RUN,
            head_fetch=np.array([prices.head_fetch]),
            head_bytes=np.array([prices.head_bytes]),
            activation_bytes=np.array([prices.activation_bytes]),
            layer_overhead=np.array([prices.layer_overhead]),
            step_overhead=np.array([prices.step_overhead]),
        ),
    )


def _records(dtype: np.dtype[np.void], **columns: NDArray[Any]) -> NDArray[np.void]:
    records = np.empty(next(iter(columns.values())).shape, dtype)
    for name, column in columns.items():
        records[name] = column
    return records


def _most_tasks(decisions: Decisions) -> int:
    experts = np.bincount(decisions.actions.ravel(), minlength=len(Action))
    copies = experts[Action.FETCH] + 2 * experts[Action.SWAP]
    return int(experts[1:].sum() + copies) + decisions.modes.size * MAX_TASKS_PER_LAYER + len(decisions.modes) * MAX_TASKS_PER_PASS


def _columns(size: int) -> Columns:
    return Columns(rows=np.empty(size, ROW), dependencies=np.empty(size * MAX_DEPENDENCIES, np.int64))


def _table(out: Columns, num_tasks: int, num_dependencies: int) -> TaskTable:
    rows = out.rows[:num_tasks]
    columns = {name: np.ascontiguousarray(rows[name]) for name in ROW.names or () if name != "end_of_dependencies"}
    offsets = np.zeros(num_tasks + 1, np.int64)
    offsets[1:] = rows["end_of_dependencies"]
    return TaskTable(dependency_offsets=offsets, dependencies=out.dependencies[:num_dependencies], **columns)
