"""``rosin.compare``: several policies on the same work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rosin.api.result import NothingFits, Result, numbers_of
from rosin.api.setting import Named, SettingValues, named, policies_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hwprofiles import Machine
    from rosin.report.json_documents import CompareResult
    from sim.model.model import Model
    from sim.policies import Policy
    from sim.step.simulate import Scenario


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Compared(Result):
    """Policies side by side.

    ``result`` has a row for each policy that fits, the fastest first, and lists the policies that
    do not fit.
    """

    result: CompareResult
    warnings: list[str]

    def __repr__(self) -> str:
        from rosin.api.simulated import speed_of

        rows = self.result.rows
        best = f"best is {rows[0].policy}: {speed_of(rows[0].metrics)}" if rows else "none fits"
        total = len(rows) + len(self.result.infeasible)
        return f"<Compared {total} policies, {len(rows)} fit; {best}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a line for each policy.

        A policy that does not fit has no figures, but a reason and the number of bytes that it
        lacks.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for row in self.result.rows:
            data = row.model_dump(mode="json")
            head = {key: data[key] for key in ("policy", "speed_fraction", "busiest_resource")}
            rows.append(head | numbers_of(data["metrics"]))
        rows.extend(misfit.model_dump(mode="json") for misfit in self.result.infeasible)
        return pd.DataFrame(rows)

    def to_data(self) -> dict[str, Any]:
        """Return the rows as ``rosin compare --json`` has them."""
        return self.result.model_dump(mode="json") | {"warnings": self.warnings}

    def plot(self) -> Figure:
        """Draw how fast each policy is and where its time goes. Raises NothingFits if none fits."""
        from rosin.commands.compare.figure import figure_of

        if not self.result.rows:
            raise NothingFits("no policy fits, so there is nothing to draw")
        return figure_of(self.result)


def compare(
    model: str | Path | Model,
    machine: str | Path | Machine,
    policies: Sequence[str | Policy] | None = None,
    **asked: Unpack[SettingValues],
) -> Compared:
    """Simulate several policies (None: all that ship) on the same tokens and experts.

    Raises hwprofiles.InputError for wrong input. A policy that does not fit is listed in
    ``result.infeasible``, with a reason.

    >>> import rosin
    >>> found = rosin.compare("mixtral-8x7b", "desktop-rtx-4090-ddr5", ["fiddler", "lru"],
    ...                       prompt_tokens=4, output_tokens=3)
    >>> sorted(found.to_frame()["policy"])
    ['fiddler', 'lru']
    """
    from rosin.commands.compare.document import compare_all

    question = named(model, machine, asked)
    scenarios = [question.scenario(policy) for policy in policies_of(policies)]
    found = compare_all(scenarios, _record(question, scenarios), question.num_draws)
    return Compared(result=found.result, warnings=found.warnings)


def _record(question: Named, scenarios: Sequence[Scenario]) -> Any:
    """Return the record that repeats the comparison.

    Raises hwprofiles.InputError if there is no scenario.
    """
    from hwprofiles import InputError
    from rosin.report.json_documents import ScenarioRecord

    if not scenarios:
        raise InputError("policies: name at least one")
    # Scenarios differ in their policy alone, so the first has the words for all.
    first = scenarios[0]
    return ScenarioRecord(
        command="rosin.compare",
        setting=question.setting,
        quantization=first.model.quantization,
        routing_description=first.routing.description,
        engine=first.engine,
        policy=None,
    )
