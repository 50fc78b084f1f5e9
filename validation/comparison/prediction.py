"""What the simulator says of the very run that was made: the same routing, from the same residency."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.engine import engine
from sim.lowering.decisions import decide
from sim.lowering.lower import lower
from sim.memory import Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.program import Platform, Program
from sim.task import Resource, Task, TaskKind, task_table
from sim.timeline import Timeline
from validation.backend.executed import Executed
from validation.comparison.lane_costs import LaneCosts


def predict(policy: Policy, problem: Problem, residency: Residency, executed: Executed) -> Program:
    """The simulator's program for the experts that the run's own router selected."""
    decisions = decide(policy, problem, residency, executed.passes, executed.tokens)
    return lower(problem, executed.passes, executed.tokens, decisions).program


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """Start and end in ns of each of the program's tasks, and how long the run takes."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    makespan_ns: int


def timed(program: Program) -> Predicted:
    """The program as the simulator times it."""
    line = engine("fast").run_program(program)
    return _read(line, np.arange(len(program.tasks)))


def timed_on_lanes(program: Program, costs: LaneCosts) -> Predicted:
    """The same with what real lanes add, timed by the same engine.

    A coordinator submits task by task, and goes on behind a gate only once it has ended; what a lane waits for from elsewhere reaches it
    through its inbox, ``hand_over_ns`` later. Coordinator and inboxes are resources, so nothing but tasks and dependencies is needed.
    """
    tasks, lanes = program.tasks, program.platform.resources
    coordinator, durations_ns = len(lanes), costs.durations_ns(tasks) + round(costs.same_lane_ns)
    made: list[Task] = []
    place_of = np.zeros(len(tasks), np.int64)
    gate: int | None = None
    for number in range(len(tasks)):
        lane, kind = int(tasks.resource[number]), TaskKind(int(tasks.kind[number]))
        waits = tasks.dependencies[tasks.dependency_offsets[number] : tasks.dependency_offsets[number + 1]]
        decision_ns = costs.submission_ns if gate is None else costs.decision_ns
        made.append(Task(resource=coordinator, duration_ns=round(decision_ns), after=() if gate is None else (gate,)))
        elsewhere = tuple(int(place_of[wait]) for wait in waits if tasks.resource[wait] != lane)
        # A layer's copy is submitted as soon as its buffer is free, ahead of its turn: see Streaming.
        submitted = () if kind is TaskKind.LAYER_FETCH else (len(made) - 1,)
        made.append(Task(resource=coordinator + 1 + lane, duration_ns=round(costs.hand_over_ns), after=(*submitted, *elsewhere)))
        place_of[number] = len(made)
        made.append(Task(resource=lane, duration_ns=int(durations_ns[number]), after=(len(made) - 1,), kind=kind))
        gate = int(place_of[number]) if kind is TaskKind.GATE else None
    added = (Resource(name="coordinator"), *(Resource(name=f"inbox of {lane.name}") for lane in lanes))
    line = engine("fast").run_program(Program(platform=Platform(resources=lanes + added), tasks=task_table(made)))
    return _read(line, place_of)


def _read(line: Timeline, places: NDArray[np.int64]) -> Predicted:
    return Predicted(start_ns=line.start_ns[places], end_ns=line.end_ns[places], makespan_ns=line.makespan_ns)
