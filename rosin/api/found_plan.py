"""``rosin.plan``: the fastest way to run a model on a machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rosin.api.result import NothingFits, Result, bars
from rosin.api.setting import Named, SettingValues, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hwprofiles import Machine
    from planner.search.make import Planned
    from planner.search.plan import Plan
    from planner.search.search import NamedRival
    from sim.model.model import Model
    from sim.policies import Policy
    from sim.step.metrics import Metrics

PLANS = (".yaml", ".yml")
FIGURES = ("output_tokens_per_s", "ttft_s", "tpot_s", "end_to_end_s")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FoundPlan(Result):
    """A plan, with the search that it came from. ``save("plan.yaml")`` writes the plan file."""

    planned: Planned
    question: Named

    @property
    def plan(self) -> Plan:
        """Return the plan as its file states it."""
        return self.planned.plan

    @property
    def policy(self) -> Policy:
        """Return the chosen policy; its placement names the place of every expert."""
        return self.plan.policy

    @property
    def metrics(self) -> Metrics:
        """Return the predicted figures, means over the draws."""
        return self.planned.search.best.metrics

    def __repr__(self) -> str:
        from rosin.api.simulated import speed_of

        setting = self.plan.setting
        where = f"{setting.model} on {setting.machine}"
        return f"<FoundPlan {where}: {self.policy.name}, {speed_of(self.metrics)}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a line for the plan, then one for each named system that fits.

        ``num_sampled_tokens`` is the number of output tokens from which a figure was estimated; 0:
        the run was simulated whole.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = [
            {"policy": self.policy.name, "is_plan": True}
            | _figures(self.metrics)
            | {"num_sampled_tokens": 0}
        ]
        for rival, metrics in self._rivals():
            rows.append(
                {"policy": rival.policy, "is_plan": False}
                | _figures(metrics)
                | {"num_sampled_tokens": rival.num_sampled_tokens or 0}
            )
        return pd.DataFrame(rows)

    def to_data(self) -> dict[str, Any]:
        """Return the plan as plain data, as it stands in a plan file."""
        from planner.search.plan import plan_to_data

        return plan_to_data(self.plan)

    def plot(self) -> Figure:
        """Draw the speed of the plan and of the named systems."""
        speeds = {"this plan": self.metrics.output_tokens_per_s}
        speeds |= {rival.policy: metrics.output_tokens_per_s for rival, metrics in self._rivals()}
        setting = self.plan.setting
        return bars(
            speeds,
            "output, prompt time included (tokens/s)",
            f"{Path(setting.model).stem} on {Path(setting.machine).stem}; simulated",
        )

    def save(self, path: str | Path) -> Path:
        """Write a plan file (.yaml), or, for any other ending, what Result.save writes.

        A machine or a model that the caller gave as an object is written to a file beside the plan
        file.
        """
        from planner.search.plan import save_plan

        file = Path(path)
        if file.suffix not in PLANS:
            # On older Pythons, super() without arguments fails in a dataclass with slots.
            return Result.save(self, file)
        own = Path(self.question.folder.name)

        def kept(name: str) -> str:
            """Return the name of a file that outlives the question; copy the file if it is
            temporary.
            """
            # What lies in the question's own folder is gone with it, so a plan file needs copies.
            if Path(name).parent != own:
                return name
            beside = file.with_name(f"{file.stem}.{Path(name).name}")
            shutil.copyfile(name, beside)
            return str(beside)

        save_plan(replace(self.plan, setting=self.plan.setting.moved(kept)), file)
        return file

    def _rivals(self) -> list[tuple[NamedRival, Metrics]]:
        from sim.step.metrics import Metrics

        rivals = self.planned.search.rivals
        return [(rival, rival.outcome) for rival in rivals if isinstance(rival.outcome, Metrics)]


def plan(
    model: str | Path | Model,
    machine: str | Path | Machine,
    *,
    objective: str = "throughput",
    max_ttft_s: float | None = None,
    is_lossless: bool = True,
    has_bounds: bool = True,
    **asked: Unpack[SettingValues],
) -> FoundPlan:
    """Find the fastest way to run a model on a machine.

    ``objective`` is throughput, latency, ttft or tpot. ``has_bounds`` proves how far the plan is
    from the best. Raises NothingFits if nothing fits or nothing keeps to ``max_ttft_s``. Raises
    hwprofiles.InputError for wrong input.

    >>> import rosin
    >>> plan = rosin.plan("mixtral-8x7b", "desktop-rtx-4090-ddr5", prompt_tokens=4,
    ...                   output_tokens=2, draws=1, has_bounds=False)
    >>> bool(plan.to_frame()["is_plan"][0])
    True
    """
    from planner.search.make import Planned, make_plan
    from planner.search.objectives import Goal
    from rosin.report.tables import shortfall
    from rosin.version import __version__
    from sim.costs.memory import Infeasible

    question = named(model, machine, asked)
    question.refuse_routing_object()
    goal = Goal(objective=objective, max_ttft_s=max_ttft_s, is_lossless=is_lossless)
    found = make_plan(question.setting, goal, __version__, has_bounds=has_bounds)
    if isinstance(found, Planned):
        return FoundPlan(planned=found, question=question)
    if isinstance(found, Infeasible):
        raise NothingFits(f"no combination of parts fits, nearest is: {shortfall(found)}")
    raise NothingFits(
        f"no plan has its first token within {max_ttft_s:g} s: the best, {found.policy}, takes "
        f"{found.best_ttft_s:.6g} s"
    )


def _figures(metrics: Metrics) -> dict[str, float]:
    return {name: getattr(metrics, name) for name in FIGURES}
