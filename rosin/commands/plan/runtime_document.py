"""A plan for a runtime as it is written to JSON."""

from typing import Any

import numpy as np

from hwprofiles.units import format_bytes
from planner.runtimes.asked import SCORES
from planner.runtimes.option import Option, Timing
from planner.runtimes.plan_file import RuntimePlanFile, call_of
from planner.runtimes.rival import Rival
from planner.runtimes.search import RuntimePlan
from rosin.commands.simulate.runtime_document import (
    MemoryByDevice,
    SpeedRange,
    basis_words,
    speed_range,
)
from rosin.report.document import Document

FULL = 0.999
"""The share of a layer's experts from which the layer counts as whole on the GPU."""


class PredictedRound(Document):
    """The speeds with their ranges, and the times of one round of the load at the middle speeds."""

    decode: SpeedRange
    prefill: SpeedRange
    ttft_s: float
    tpot_s: float
    end_to_end_s: float
    output_tokens_per_s: float


class RuntimeRivalRow(Document):
    """Another way to start the runtime.

    ``speed_fraction`` is its speed as a fraction of the plan's, by the objective. If it has no
    setting that fits, all fields but ``name`` and ``reason`` are null.
    """

    name: str
    arguments: list[str] | None
    environment: dict[str, str] | None
    decode_tokens_per_s: float | None
    prefill_tokens_per_s: float | None
    end_to_end_s: float | None
    speed_fraction: float | None
    reason: str | None


class AnyPolicy(Document):
    """The best plan of any policy, simulated."""

    policy: str
    ttft_s: float
    tpot_s: float
    end_to_end_s: float
    output_tokens_per_s: float


class RuntimePlanResult(Document):
    """The result of ``rosin plan --runtime``.

    ``plan`` has the content of the plan file, and ``command`` the program's arguments.
    """

    runtime: str
    command: list[str]
    environment: dict[str, str]
    command_line: str
    objective: str
    machine: str
    model: str
    quantization: str
    rounds: int
    prompt_tokens: int
    output_tokens: int
    room_tokens: int
    num_tried: int
    plan: dict[str, Any]
    path: str | None
    predicted: PredictedRound
    memory_bytes: MemoryByDevice
    room_bytes: dict[str, float]
    placed: str
    is_prompt_uploaded: bool
    rivals: list[RuntimeRivalRow]
    against: RuntimeRivalRow | None
    against_missing_bytes: dict[str, float]
    any_policy: AnyPolicy | None
    gain_lost_fraction: float | None
    rests_on: str


def predicted_round(plan: RuntimePlan) -> PredictedRound:
    """Return the plan's speeds and times."""
    return PredictedRound.of(
        plan.best.timing,
        decode=speed_range(plan.prediction.decode),
        prefill=speed_range(plan.prediction.prefill),
    )


def runtime_plan_result(
    plan: RuntimePlan,
    file: RuntimePlanFile,
    *,
    command: list[str],
    command_line: str,
    path: str | None,
    any_policy: AnyPolicy | None,
) -> RuntimePlanResult:
    """Return the document of a plan."""
    asked = plan.asked
    return RuntimePlanResult(
        runtime=asked.runtime,
        command=command,
        environment=file.runtime.environment,
        command_line=command_line,
        objective=asked.objective,
        machine=file.setting.machine,
        model=asked.model.name,
        quantization=asked.quantization,
        rounds=asked.load.rounds,
        prompt_tokens=asked.load.prompt_tokens,
        output_tokens=asked.load.output_tokens,
        room_tokens=asked.load.cache_tokens,
        num_tried=plan.num_tried,
        plan=file.model_dump(mode="json"),
        path=path,
        predicted=predicted_round(plan),
        memory_bytes=dict(plan.prediction.memory),
        room_bytes=asked.room_bytes(),
        placed=placed_words(plan.best),
        is_prompt_uploaded=plan.prediction.is_prompt_uploaded,
        rivals=[_row(rival, plan) for rival in plan.rivals],
        against=_against(plan),
        against_missing_bytes=dict(plan.against_missing_bytes or {}),
        any_policy=any_policy,
        gain_lost_fraction=_lost(plan, any_policy),
        rests_on=basis_words(plan.prediction),
    )


def placed_words(option: Option) -> str:
    """Say in words what is on GPUs."""
    placement = option.placement
    model = option.question.model
    if not placement.num_gpus:
        return "everything on the CPU: the machine has no GPU"
    where = "on the GPU" if placement.num_gpus == 1 else "on the GPUs"
    whole = int(np.sum(placement.attention >= 0))
    layers = f"{whole} of {model.num_layers} layers {where}"
    # Column 0 is the host; what is not there is on a GPU.
    on_gpu = 1 - placement.expert_fraction[list(model.moe_layers), 0]
    num_full = int(np.sum(on_gpu > FULL))
    if whole == model.num_layers:
        if num_full == len(model.moe_layers):
            return f"everything {where}"
        layers = f"all layers but their experts {where}"
    if model.is_dense:
        return layers
    cached = sum(own.expert_cache for own in option.memory.values())
    if cached:
        return f"{layers}, and a cache of experts of {format_bytes(cached)} there"
    words = f"{layers}; {float(np.mean(on_gpu)):.0%} of the experts"
    if placement.is_by_matrix:
        words += f", with all of {num_full} of the {len(model.moe_layers)} layers"
    return words


def _against(plan: RuntimePlan) -> RuntimeRivalRow | None:
    if plan.against is None:
        return None
    return _row(Rival(name="what you run", option=plan.against), plan)


def _row(rival: Rival, plan: RuntimePlan) -> RuntimeRivalRow:
    option = rival.option
    # Keys that do not apply are null in JSON, so all begin as None.
    empty: dict[str, Any] = dict.fromkeys(RuntimeRivalRow.model_fields)
    values = empty | {"name": rival.name, "reason": rival.reason}
    if option is not None:
        call = call_of(option)
        timing = option.timing
        score = SCORES[plan.asked.objective]
        values |= {
            "arguments": list(call.arguments),
            "environment": call.environment,
            "decode_tokens_per_s": 1 / timing.tpot_s,
            "prefill_tokens_per_s": plan.asked.load.prompt_tokens / timing.ttft_s,
            "end_to_end_s": timing.end_to_end_s,
            "speed_fraction": score(plan.best.timing) / score(timing),
        }
    return RuntimeRivalRow(**values)


def _lost(plan: RuntimePlan, any_policy: AnyPolicy | None) -> float | None:
    """Return the share of the best policy's speed that the runtime does not reach."""
    if any_policy is None:
        return None
    best = SCORES[plan.asked.objective](
        Timing(
            ttft_s=any_policy.ttft_s,
            tpot_s=any_policy.tpot_s,
            output_tokens=plan.asked.load.output_tokens,
        )
    )
    return 1 - best / SCORES[plan.asked.objective](plan.best.timing)
