"""Plans that copy experts of a long prompt ahead of their gates: found where they pay, not tried
where they cannot, kept in a file.
"""

from pathlib import Path

from planner.search.candidates import candidates
from planner.search.make import Planned, make_plan
from planner.search.objectives import Goal
from planner.search.plan import Setting, load_plan, save_plan
from planner.search.trials import Trials
from sim.costs.memory import Residency
from sim.policies.placement.gain import GainPlacement
from sim.policies.prefetch.early import EarlyPrefetch
from sim.step.simulate import Run, simulate

LONG = Setting(
    model="deepseek-v2-lite", machine="fiddler-e1", prompt_tokens=1024, output_tokens=16, draws=2
)


def _tries_early(setting: Setting) -> bool:
    return any(
        isinstance(policy.prefetch, EarlyPrefetch) for policy in candidates(setting.question())
    )


def test_a_long_prompt_over_a_slow_link_fetches_early(tmp_path: Path) -> None:
    """The plan does so, lies above its bound and within a tenth of it, and runs again from its file
    to the nanosecond.
    """
    planned = make_plan(LONG, Goal(), "0.0")
    assert isinstance(planned, Planned)
    plan = planned.plan
    assert isinstance(plan.policy.prefetch, EarlyPrefetch)
    gap = plan.bounds["gap_to_static_bound_fraction"]
    assert gap is not None and 0 < gap < 0.1
    save_plan(plan, tmp_path / "plan.yaml")
    read = load_plan(tmp_path / "plan.yaml")
    assert read == plan
    run = simulate(read.setting.scenario(read.policy))
    assert isinstance(run, Run) and run.decisions.early is not None
    assert run.timeline.digest == plan.predicted["timeline_digest"]


def test_tried_only_where_it_may_pay() -> None:
    """Not for short prompts, nor where answers take nearly all attention, nor where everything
    fits.
    """
    assert _tries_early(LONG)
    assert not _tries_early(LONG.model_copy(update={"prompt_tokens": 64, "output_tokens": 64}))
    assert not _tries_early(LONG.model_copy(update={"output_tokens": 8192}))
    assert not _tries_early(LONG.model_copy(update={"machine": "a100-80"}))


def test_what_is_tried_starts_as_it_would_by_itself() -> None:
    """A search ranks experts once for many candidates, but anew where a placement weighs their
    buffers: each starts as when run alone.
    """
    setting = Setting(
        model="mixtral-8x7b",
        machine="server-12ch-ddr5-rtx-5090",
        prompt_tokens=1024,
        output_tokens=16,
    )
    question = setting.question()
    trials = Trials([question])
    for policy in candidates(question):
        if isinstance(policy.placement, GainPlacement):
            trial = trials.start(policy, is_named=False)
            alone = policy.placement.place(trial.problem)
            assert isinstance(alone, Residency) and isinstance(trial.residency, Residency)
            assert (alone.experts == trial.residency.experts).all(), policy.name
