"""A plan beside the named systems, as a picture."""

from rosin.report.bar_figure import NamedBar, bar_picture
from rosin.report.json_documents import PlanResult
from rosin.report.tables import format_count
from sim.step.metrics import Metrics
from sim.step.simulate import Run


def draw_plan(run: Run, result: PlanResult, suffix: str) -> bytes:
    """Return a picture of the output speed of the plan and of each named system that fits.

    ``suffix`` chooses the format; the same result gives the same bytes.
    """
    scenario = run.scenario
    batch = run.scenario.batch
    bars = [_bar(scenario.policy.name, result.predicted, is_chosen=True)]
    sampled = ""
    for rival in result.rivals:
        if rival.metrics is not None:
            mark = ("" if rival.is_lossless else " *") + (" †" if rival.knows_future else "")
            if rival.num_sampled_tokens is not None:
                mark += " ~"
                sampled = f", ~ by its first {rival.num_sampled_tokens} output tokens"
            bars.append(_bar(rival.policy + mark, rival.metrics))
    bars.sort(key=lambda bar: -bar.value)
    title = (
        f"{scenario.model.name} ({scenario.model.quantization}) on {scenario.machine.name}: "
        f"{batch.batch_size} x {batch.prompt_tokens} tokens, {batch.output_tokens} output tokens; simulated\n"
        f"green: the plan; * lossy, † knows the future{sampled}"
    )
    return bar_picture(title, "output, prompt time included (tokens/s)", bars).render(suffix)


def _bar(name: str, metrics: Metrics, *, is_chosen: bool = False) -> NamedBar:
    speed = metrics.output_tokens_per_s
    return NamedBar(name=name, value=speed, words=format_count(speed), is_chosen=is_chosen)
