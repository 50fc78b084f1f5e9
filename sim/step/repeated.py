"""The metrics of a run without its whole timeline: one layer stands for all that decode alike.

If residents stay and one token is fed at a time, a layer begins when all of the layer before has
ended. Every selected expert then has one token. So a layer's time depends on how many experts run
where, not on which. One layer of each kind stands for all of its kind, to the nanosecond
(docs/decisions/0026-layers-that-decode-alike.md).
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.engine import engine
from sim.engine.program import Program
from sim.engine.timeline import Timeline
from sim.policies.actions import Action, LayerMode
from sim.policies.dispatch.rule import Rule
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.room import Rooms
from sim.step.execute import execute_decided
from sim.step.lowering.decisions import Decisions, decide_all, shelf_of
from sim.step.lowering.draft import N, Sheet
from sim.step.lowering.job import table
from sim.step.lowering.lower import (
    MAX_TASKS_PER_LAYER,
    MAX_TASKS_PER_PASS,
    RESOURCES,
    fresh_draft,
    platform,
    sheet_of,
)
from sim.step.lowering.passes import emit_run
from sim.step.lowering.prices import Prices, price
from sim.step.metrics import (
    Metrics,
    Totals,
    expert_counts,
    metrics_of,
    peak_staged_bytes,
    totals_of,
)
from sim.step.simulate import (
    Drawn,
    Scenario,
    fixed_bytes,
    foresight_of,
    memory_items,
    run_drawn,
)
from sim.workload.batch import Passes

COUNTED = (Action.CPU, Action.RESIDENT, Action.FETCH)
"""The actions that selected experts may have in a layer that stands for others."""
MAX_TASKS_PER_EXPERT = 2
"""A run, and the copy of its weights."""


def metrics_drawn(
    scenario: Scenario, problem: Problem, residency: Residency, drawn: Drawn, rooms: Rooms
) -> Metrics:
    """Return the metrics of ``run_drawn``, by the shorter way if there is one.

    Otherwise the run takes one of the rooms, since only its metrics are kept.
    """
    policy = scenario.policy
    totals = None
    if repeats(policy, problem, residency, drawn.passes):
        foresight = foresight_of(scenario, problem, residency, drawn)
        totals = _totals(policy, foresight, scenario.engine, drawn.selected)
    if totals is None:
        with rooms.lent() as room:
            return run_drawn(scenario, problem, residency, drawn, room).metrics
    items = memory_items(problem, residency, policy)
    return metrics_of(
        totals,
        scenario.batch,
        num_resident_experts=residency.num_experts,
        fixed_bytes=fixed_bytes(problem, residency, items),
    )


def repeats(policy: Policy, problem: Problem, residency: Residency, passes: Passes) -> bool:
    """Return whether layers of the run's decode steps may stand for each other."""
    fed = passes.num_tokens[~passes.is_prefill]
    return (
        len(fed) > 1
        and bool((fed == 1).all())
        and policy.keeps_residency
        and policy.is_lossless
        and not policy.overlap.in_turn
        and not policy.prefetch.is_active
        and not policy.feeding.is_pipelined
        and problem.split is None
        # Else a run refuses what it would copy.
        and (problem.overlap.staging_experts > 0 or policy.dispatch.rule == Rule.CPU)
        and bool((policy.dispatch.layer_modes(residency, fed) == LayerMode.GPU).all())
        and bool((policy.dispatch.head_modes(residency, fed) == LayerMode.GPU).all())
        and shelf_of(problem, residency) is None
    )


def _totals(
    policy: Policy, foresight: Foresight, engine_name: str, selected: NDArray[np.int64]
) -> Totals | None:
    """Return the totals of the run, or None if they cannot be computed the shorter way.

    This is so if a copy goes on after the prompt has ended, or copies begin before their gates
    while decoding. ``selected`` are the indices of experts with tokens, flattened.
    """
    decisions = decide_all(policy, foresight.residency, foresight)
    num_prompt = int(np.count_nonzero(foresight.passes.is_prefill))
    border = num_prompt * foresight.tokens[0].size
    first = int(np.searchsorted(selected, border))
    if decisions.early is not None and decisions.early[num_prompt:].any():
        return None

    prompt = _Part.of(foresight, decisions, slice(num_prompt), selected[:first])
    execution = execute_decided(
        foresight.problem, prompt.passes, prompt.tokens, prompt.decisions, engine_name
    )
    if execution.timeline.end_ns[execution.last_task[-1]] < execution.timeline.makespan_ns:
        return None
    own = replace(foresight, passes=prompt.passes, tokens=prompt.tokens)
    rest = _Part.of(foresight, decisions, slice(num_prompt, None), selected[first:] - border)
    return totals_of(execution, own, prompt.selected).followed_by(
        _decode_totals(foresight.problem, rest, engine_name)
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Some passes of a run and what is decided in them; ``selected`` are indices in flattened
    ``tokens``.
    """

    passes: Passes
    tokens: NDArray[np.int32]
    decisions: Decisions
    selected: NDArray[np.int64]

    @classmethod
    def of(
        cls, foresight: Foresight, decisions: Decisions, rows: slice, selected: NDArray[np.int64]
    ) -> "_Part":
        """Return the passes ``rows`` of a run."""
        columns = {
            field.name: getattr(foresight.passes, field.name)[rows] for field in fields(Passes)
        }
        decided: dict[str, Any] = {
            name: None if column is None else column[rows]
            for name in ("actions", "modes", "head_modes", "spilled", "early")
            for column in (getattr(decisions, name),)
        }
        return cls(
            passes=Passes(**columns),
            tokens=foresight.tokens[rows],
            decisions=replace(decisions, **decided),
            selected=selected,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kinds:
    """The kinds into which the layers of all passes are sorted.

    ``cell`` is one layer of each kind, numbered pass · layers + layer. ``layer`` is its number
    within the pass. ``times`` is how many layers are of the kind.
    """

    cell: NDArray[np.int64]
    layer: NDArray[np.int64]
    times: NDArray[np.int64]


def _decode_totals(problem: Problem, part: _Part, engine_name: str) -> Totals:
    """Return the totals of decode passes, computed from one pass that has a layer of each kind."""
    decisions = part.decisions
    prices = price(problem, part.passes, decisions.modes, decisions.head_modes, 1)
    once = _one_pass(problem, part, prices)
    kinds = _kinds(part, once)
    timeline = _timeline(problem, _sheet_of_kinds(part, once, kinds), engine_name)

    tasks = timeline.tasks
    # What belongs to no layer ends the pass, and has the layer -1: the last place.
    times = np.append(kinds.times, len(part.passes))[tasks.layer]
    attention_ns = int(prices.attention.sum())
    names = [resource.name for resource in RESOURCES]
    busy_ns = _by_resource(timeline.busy_ns * times, timeline)
    busy_ns[names.index("gpu")] += attention_ns
    moved = _by_resource(tasks.num_bytes * times, timeline)
    end_ns = attention_ns + _lasting_ns(timeline, len(kinds.times)) @ np.append(
        kinds.times, len(part.passes)
    )
    return Totals(
        first_token_ns=None,
        end_ns=int(end_ns),
        makespan_ns=int(end_ns),
        busy_ns=dict(zip(names, busy_ns.tolist(), strict=True)),
        h2d_bytes=int(moved[names.index("h2d")]),
        d2h_bytes=int(moved[names.index("d2h")]),
        prefetched_bytes=0,
        wasted_prefetch_bytes=0,
        staged_bytes=(peak_staged_bytes(timeline, problem.overlap.staging_layer_share),),
        counts=expert_counts(part.selected, part.tokens, decisions, part.passes),
    )


def _one_pass(problem: Problem, part: _Part, prices: Prices) -> Sheet:
    """Return the sheet of the first pass, with attention that takes no time.

    Attention alone differs from pass to pass, and nothing runs beside it.
    """
    first = slice(1)
    decisions = part.decisions
    shown = replace(
        decisions,
        actions=decisions.actions[first],
        modes=decisions.modes[first],
        head_modes=decisions.head_modes[first],
        early=None,
    )
    columns = {field.name: getattr(part.passes, field.name)[first] for field in fields(Passes)}
    at_once = prices._replace(
        attention=np.zeros_like(prices.attention[first]),
        gate=prices.gate[first],
        ffn=prices.ffn[first],
        head=prices.head[first],
    )
    return sheet_of(
        problem, Passes(**columns), part.tokens[first], shown, (at_once, len(RESOURCES))
    )


def _kinds(part: _Part, once: Sheet) -> _Kinds:
    """Sort layers by what they are and by how many of their experts run where."""
    num_layers, num_experts = part.tokens.shape[1:]
    layers = once.layers
    known = [layers[name] for name in layers.dtype.names or ()]
    known += [once.work[0]["gate"], once.work[0]["ffn"]]
    _, of_layer = np.unique(np.stack(known, axis=1), axis=0, return_inverse=True)

    place_of = np.full(max(Action) + 1, len(COUNTED))
    place_of[list(COUNTED)] = np.arange(len(COUNTED))
    places = place_of[part.decisions.actions.ravel()[part.selected]]
    assert not len(places) or places.max() < len(COUNTED), "an expert does what no kind counts"
    number = part.tokens.shape[0] * num_layers
    counted = np.bincount(
        part.selected // num_experts * len(COUNTED) + places, minlength=number * len(COUNTED)
    ).reshape(number, len(COUNTED))

    code = np.tile(of_layer.ravel(), len(part.passes))
    for column in counted.T:
        code = code * (num_experts + 1) + column
    _, cell, times = np.unique(code, return_index=True, return_counts=True)
    return _Kinds(cell=cell, layer=cell % num_layers, times=times)


def _sheet_of_kinds(part: _Part, once: Sheet, kinds: _Kinds) -> Sheet:
    """Return the sheet of a pass that has a layer of each kind, one after another."""
    num_experts = part.tokens.shape[2]
    return once._replace(
        tokens=part.tokens.reshape(-1, num_experts)[kinds.cell][np.newaxis],
        actions=part.decisions.actions.reshape(-1, num_experts)[kinds.cell][np.newaxis],
        layers=once.layers[kinds.layer],
        work=once.work[:, kinds.layer],
        shares=once.shares[kinds.layer],
    )


def _timeline(problem: Problem, sheet: Sheet, engine_name: str) -> Timeline:
    """Return the timeline of the pass on a sheet."""
    num_tasks = (
        sheet.work.size * MAX_TASKS_PER_LAYER
        + MAX_TASKS_PER_PASS
        + MAX_TASKS_PER_EXPERT * int(np.count_nonzero(sheet.actions))
    )
    draft = fresh_draft(problem, sheet, num_tasks)
    emit_run(draft)
    program = Program(
        platform=platform(problem.machine, RESOURCES), tasks=table(draft, 0, int(draft.state[N]))
    )
    return engine(engine_name).run_program(program)


def _lasting_ns(timeline: Timeline, num_layers: int) -> NDArray[np.int64]:
    """Return how long each layer lasts and, last, what ends the pass, in ns.

    Each begins when everything before it has ended.
    """
    ends = np.zeros(num_layers + 1, np.int64)
    np.maximum.at(ends, timeline.tasks.layer, timeline.end_ns)
    ends[-1] = timeline.makespan_ns
    return np.diff(ends, prepend=0)


def _by_resource(values: NDArray[np.int64], timeline: Timeline) -> NDArray[np.int64]:
    """Sum the values of tasks by resource."""
    found = np.zeros(len(timeline.platform.resources), np.int64)
    np.add.at(found, timeline.tasks.resource, values)
    return found
