"""``rosin.validate``: a plan that is run on this computer, beside its prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosin.api.found_plan import FoundPlan
from rosin.api.result import Result, bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from rosin.report.checking_documents import ValidateResult


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Validated(Result):
    """Measured and predicted times; ``result`` has the errors, the noise and each plan that ran."""

    result: ValidateResult

    def __repr__(self) -> str:
        measured = self.result.measured["end_to_end_s"]
        error = self.result.plans[0].paired_error_fraction
        return f"<Validated on {self.result.device}: {measured:.3g} s measured, error {error:+.1%}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a line for each plan that ran: its measured times, and the errors of its
        prediction.
        """
        import pandas as pd

        return pd.DataFrame([row.model_dump(mode="json") for row in self.result.plans])

    def to_data(self) -> dict[str, Any]:
        """Return the result as ``rosin validate --json`` has it."""
        return self.result.model_dump(mode="json")

    def plot(self) -> Figure:
        """Draw the measured time of each plan."""
        return bars(
            {row.name: row.measured_s for row in self.result.plans},
            "whole run (s)",
            f"{self.result.model} on {self.result.machine}; measured, {self.result.device}",
        )


def validate(
    plan: str | Path | FoundPlan,
    *,
    device: str = "auto",
    num_rounds: int = 5,
    weights: str | Path | None = None,
) -> Validated:
    """Run a plan, and the named systems that might beat it, on this computer.

    ``device`` is auto, paced, cpu or cuda. ``weights`` is a folder with a Hugging Face checkpoint
    (None: random weights). Needs torch. Raises hwprofiles.InputError for what cannot be run.
    """
    from planner.search.plan import load_plan
    from rosin.cli.torch_needed import require_torch

    require_torch("validate runs the plan")
    # These modules import torch, so they come after the check that it is there.
    from rosin.commands.validate.document import validate_result
    from validation.comparison import validate_plan

    loaded = plan.plan if isinstance(plan, FoundPlan) else load_plan(Path(plan))
    checkpoint = Path(weights) if weights is not None else None
    found = validate_plan(loaded, num_rounds, device=device, checkpoint=checkpoint)
    return Validated(result=validate_result(found))
