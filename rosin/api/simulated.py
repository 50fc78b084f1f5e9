"""``rosin.simulate``: one batch under one policy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rosin.api.result import NothingFits, Result, bars, numbers_of
from rosin.api.setting import SettingValues, named, policy_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hwprofiles import Machine
    from sim.model.model import Model
    from sim.policies import Policy
    from sim.step.metrics import Metrics
    from sim.step.simulate import Run


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Simulated(Result):
    """A simulated run; ``run`` has the decisions and the timeline, task by task."""

    run: Run

    @property
    def metrics(self) -> Metrics:
        """Return the figures of the run, means over its draws."""
        return self.run.metrics

    @property
    def warnings(self) -> list[str]:
        """Return what to know before trusting the figures."""
        return list(self.run.warnings)

    def __repr__(self) -> str:
        return f"<Simulated {_what(self.run)}: {speed_of(self.metrics)}>"

    def to_frame(self) -> pd.DataFrame:
        """Return one line with every metric."""
        import pandas as pd

        policy = self.run.scenario.policy.name
        return pd.DataFrame([{"policy": policy} | numbers_of(asdict(self.metrics))])

    def to_data(self) -> dict[str, Any]:
        """Return metrics, memory, warnings, and the provenance of the weakest number."""
        from rosin.version import __version__
        from sim.step.provenance import provenance_of

        weakest = provenance_of(self.run).weakest
        return {
            "version": __version__,
            "policy": self.run.scenario.policy.name,
            "metrics": asdict(self.metrics),
            "gpu_memory_bytes": dict(self.run.memory_items),
            "timeline_digest": self.run.timeline.digest,
            "warnings": self.warnings,
            "provenance": {
                "kind": weakest.kind.value,
                "source": weakest.source,
                "date": weakest.date,
            },
        }

    def plot(self) -> Figure:
        """Draw the share of the run during which each resource is busy."""
        busy = {name: 100 * share for name, share in self.metrics.utilization.items()}
        return bars(busy, "busy (% of the run)", f"{_what(self.run)}; simulated")


def simulate(
    model: str | Path | Model,
    machine: str | Path | Machine,
    policy: str | Path | Policy,
    **asked: Unpack[SettingValues],
) -> Simulated:
    """Simulate one batch under one policy.

    Raises NothingFits if the policy finds no placement within memory, and hwprofiles.InputError for
    wrong input.

    >>> import rosin
    >>> run = rosin.simulate("mixtral-8x7b", "desktop-rtx-4090-ddr5", "fiddler",
    ...                      prompt_tokens=4, output_tokens=3)
    >>> run.metrics.num_resident_experts > 0
    True
    """
    from rosin.report.tables import shortfall
    from sim.step.draws import simulate_draws
    from sim.step.simulate import Run

    question = named(model, machine, asked)
    found = simulate_draws(question.scenario(policy_of(policy)), question.num_draws)
    if not isinstance(found, Run):
        raise NothingFits(f"no feasible plan: {shortfall(found)}")
    return Simulated(run=found)


def speed_of(metrics: Metrics) -> str:
    """Return the speed, the time to first token and the time per further token, in words."""
    from hwprofiles.units import format_duration

    ttft = format_duration(metrics.ttft_s)
    tpot = format_duration(metrics.tpot_s)
    return f"{metrics.output_tokens_per_s:.3g} tokens/s, TTFT {ttft}, TPOT {tpot}"


def _what(run: Run) -> str:
    scenario = run.scenario
    return f"{scenario.model.name} on {scenario.machine.name} under {scenario.policy.name}"
