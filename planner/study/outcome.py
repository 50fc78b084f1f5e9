"""The outcome of a point: the figures of its best plan, which a study keeps."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

from hwprofiles import InputError, load_machine
from planner.search.make import Planned, make_plan
from planner.search.objectives import Goal
from planner.search.plan import Setting
from planner.search.search import Search
from planner.study.study import Keys, Study
from sim.costs.memory import Infeasible
from sim.policies import Policy, find_policy
from sim.step.metrics import Metrics

STUDY_DRAWS = 4
"""Draws that a point is averaged over, where nobody says.

Points of a study share their draws, so that fewer do.
"""

RIVAL_FIGURES = ("output_tokens_per_s", "ttft_s", "tpot_s", "end_to_end_s")
OF_PLAN = "speed_of_plan_fraction"
"""One more figure of a rival: the plan's end-to-end time over the rival's, on the draws of both."""

OBJECTIVE_FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "throughput": "output_tokens_per_s",
        "latency": "end_to_end_s",
        "ttft": "ttft_s",
        "tpot": "tpot_s",
    }
)
"""The metric that each objective of a study looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointJob:
    """One point to plan.

    ``key`` is the study's name for it. A worker that computes another key refuses the point.
    """

    setting: Setting
    objective: str
    version: str
    key: str
    has_bounds: bool = True


def jobs_of(study: Study, settings: Iterable[Setting], keys: Iterable[str]) -> Iterator[PointJob]:
    """Yield a job for each setting and its key, as the study asks; each job is made when taken."""
    for setting, key in zip(settings, keys, strict=True):
        yield PointJob(
            setting=setting,
            objective=study.objective,
            version=study.version,
            key=key,
            has_bounds=study.has_bounds,
        )


class Outcome(BaseModel):
    """The outcome of a point: the plan's policy and figures, or why nothing fits.

    ``missing_bytes`` are then what the nearest try is short of. ``rivals`` has the lossless named
    systems that fit and see no future, the best by the objective first, each over its draws.
    ``weakest`` is the provenance of the weakest number that went in. ``machine_price_usd`` is null
    where the machine states no price.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_feasible: bool
    reason: str | None = None
    missing_bytes: int | None = None
    policy: str | None = None
    metrics: dict[str, int | float] = {}
    bounds: dict[str, float | None] = {}
    binding_resource: str | None = None
    weakest: dict[str, str] | None = None
    timeline_digest: str | None = None
    machine_price_usd: float | None = None
    rivals: dict[str, dict[str, float]] = {}


def evaluate(job: PointJob) -> Outcome:
    """Plan one point. Raises InputError where this program, or the files it sees, are not those of
    the study.

    A search that is interrupted gives no outcome: SearchStopped goes through.
    """
    # A worker hashes its own sources and files: the same names may stand for other content there.
    if Keys(job.objective, job.version, has_bounds=job.has_bounds).key(job.setting) != job.key:
        raise InputError(
            "a worker has another version of the program, or other files of the same name, than the study; give it the same"
        )
    setting = (
        job.setting if job.setting.draws else job.setting.model_copy(update={"draws": STUDY_DRAWS})
    )
    planned = make_plan(
        setting, Goal(objective=job.objective), job.version, has_bounds=job.has_bounds
    )
    price = load_machine(job.setting.machine, job.setting.machine_overrides).price_usd
    price_usd = price.effective if price is not None else None
    if isinstance(planned, Planned):
        return _outcome(planned, price_usd)
    assert isinstance(planned, Infeasible)  # a study sets no constraint
    return Outcome(
        is_feasible=False,
        reason=planned.reason,
        missing_bytes=planned.missing_bytes,
        machine_price_usd=price_usd,
    )


def _outcome(planned: Planned, price_usd: float | None) -> Outcome:
    plan = planned.plan
    assert not plan.is_stopped  # the best so far is no outcome
    return Outcome(
        is_feasible=True,
        policy=plan.policy.name,
        metrics=_numbers(plan.predicted),
        # Only numbers are kept, because points are compared in figures.
        bounds={
            name: value for name, value in plan.bounds.items() if value is None or _is_number(value)
        },
        binding_resource=plan.binding_resource,
        weakest=plan.provenance["weakest"],
        timeline_digest=plan.predicted["timeline_digest"],
        machine_price_usd=price_usd,
        rivals=_rivals(planned.search),
    )


def _rivals(search: Search) -> dict[str, dict[str, float]]:
    found = {}
    for rival in search.rivals:
        if (
            isinstance(rival.outcome, Metrics)
            and rival.plan_metrics is not None
            and _could_be_had(find_policy(rival.policy))
        ):
            found[rival.policy] = _figures(rival.outcome) | {
                OF_PLAN: rival.plan_metrics.end_to_end_s / rival.outcome.end_to_end_s
            }
    return found


def _could_be_had(policy: Policy) -> bool:
    """Whether a user could have the system as simulated: it changes no token and sees no future."""
    return policy.is_lossless and not policy.knows_future


def _figures(metrics: Metrics) -> dict[str, float]:
    return {name: getattr(metrics, name) for name in RIVAL_FIGURES}


def _numbers(values: Mapping[str, Any]) -> dict[str, int | float]:
    return {name: value for name, value in values.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    # To Python true is a number.
    return isinstance(value, Real) and not isinstance(value, bool)
