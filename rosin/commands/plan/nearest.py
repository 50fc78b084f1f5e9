"""The runtime that comes nearest to a plan of any policy, and the speed that it lacks."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from hwprofiles import InputError
from planner.runtimes.asked import SCORES
from planner.runtimes.option import Timing
from planner.runtimes.plan_text import text_of
from planner.runtimes.search import WAYS
from planner.search.plan import Plan
from rosin.cli.failures import NoFeasiblePlan
from rosin.commands.plan.runtime_command import plan_again
from rosin.commands.plan.runtime_page import times_as_long
from rosin.report.json_documents import PlanResult, PlanRuntime
from sim.runtimes.predict import FITTED
from sim.step.metrics import Metrics


def nearest_runtimes(plan: Plan, metrics: Metrics) -> list[PlanRuntime]:
    """Return the best plan of each runtime for the load of ``plan``, the nearest first.

    Batches, beams and several GPUs give an empty list, since a runtime is planned for one user.
    """
    setting = plan.setting
    if setting.batch_size > 1 or setting.beams > 1 or setting.gpus > 1:
        return []
    found = [_reached(plan, metrics, runtime) for runtime in WAYS if runtime in FITTED]
    found.sort(key=lambda row: (row.lost_fraction is None, row.lost_fraction or 0.0))
    return found


def _reached(plan: Plan, metrics: Metrics, runtime: str) -> PlanRuntime:
    empty = dict.fromkeys(PlanRuntime.model_fields)
    try:
        file = plan_again(plan.setting, plan.goal, runtime, None)
    except (InputError, NoFeasiblePlan) as error:
        return PlanRuntime.model_validate(empty | {"runtime": runtime, "reason": str(error)})
    timing = _timing(file.predicted, plan.setting.output_tokens)
    # One formula scores both runs, from the times that both models of cost predict.
    best = Timing(
        ttft_s=metrics.ttft_s, tpot_s=metrics.tpot_s, output_tokens=plan.setting.output_tokens
    )
    score = SCORES[plan.goal.objective]
    return PlanRuntime(
        runtime=runtime,
        command_line=text_of(file, "args").strip(),
        ttft_s=timing.ttft_s,
        tpot_s=timing.tpot_s,
        end_to_end_s=timing.end_to_end_s,
        lost_fraction=1 - score(best) / score(timing),
        reason=None,
    )


def _timing(predicted: dict[str, float], output_tokens: int) -> Timing:
    return Timing(
        ttft_s=predicted["ttft_s"], tpot_s=predicted["tpot_s"], output_tokens=output_tokens
    )


def nearest_lines(result: PlanResult) -> Iterator[RenderableType]:
    """Yield the nearest runtime, how near it comes, and how to get its command."""
    if not result.runtimes:
        return
    nearest = result.runtimes[0]
    if nearest.lost_fraction is None or nearest.tpot_s is None:
        yield Text(f"no runtime has a plan here: {nearest.reason}")
        return
    yield Text(
        f"nearest runtime: {nearest.runtime}, {_both_speeds(nearest, result)}: "
        f"{_loss_words(result.objective, nearest.lost_fraction)}; rosin plan --runtime "
        f"{nearest.runtime} has the command to paste"
    )


def _both_speeds(nearest: PlanRuntime, result: PlanResult) -> str:
    """Return in words how fast the runtime and the plan decode.

    For an answer of one token, the times to the first token are compared.
    """
    planned = result.predicted
    if planned.tpot_s and nearest.tpot_s:
        return (
            f"predicted at {1 / nearest.tpot_s:.3g} tokens/s where the plan is simulated at "
            f"{1 / planned.tpot_s:.3g}"
        )
    return (
        f"predicted to take {nearest.ttft_s:.3g} s to the first token where the plan is simulated "
        f"to take {planned.ttft_s:.3g} s"
    )


def _loss_words(objective: str, lost_fraction: float) -> str:
    """Return the loss in words; a loss of 0 or less counts as none."""
    if lost_fraction <= 0:
        return "nothing is lost that two models of cost can tell"
    return times_as_long(objective, lost_fraction)
