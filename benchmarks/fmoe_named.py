"""Show how fMoE's figures depend on how many experts it names: ``python -m benchmarks.fmoe_named``.

The paper's threshold names top-k experts of a layer; the released code names all. The benchmark
prints what lies between, for LMSYS lengths. fMoE names at most a share of each layer's experts, the
likeliest first, and each figure stands over that of each baseline. Last come the times of fMoE that
the published ratios give for the simulated times of the baselines.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.policies import with_settings
from sim.step.metrics import Metrics
from sim.step.simulate import simulate
from validation.published.fmoe.measured import PointMetrics, Workload, all_workloads, measure
from validation.published.fmoe.summary import ORDERS, mean_reduction
from validation.published.fmoe.systems import BASE, BASELINES, BATCHES, scenario_of
from validation.published.published_row import published_rows

SHARES = (1.0, 0.75, 0.5, 0.375, 0.25)
LMSYS = all_workloads(("LMSYS",))


def naming(share: float, seed: int = 0) -> Mapping[Workload, Metrics]:
    """Return fMoE's metrics if it names at most that share of a layer's experts."""
    return {(model, data): _run(model, data, share, seed) for model, data in LMSYS}


def _run(model: str, data: str, share: float, seed: int) -> Metrics:
    scenario = scenario_of("fMoE", model, BATCHES[data], BASE, seed)
    most = max(1, round(share * load_model(model).num_experts))
    policy = with_settings(scenario.policy, {"prefetch.most_named": str(most)})
    found = simulate(replace(scenario, policy=policy))
    assert not isinstance(found, Infeasible)
    return found.metrics


def lines(baselines: PointMetrics) -> Iterator[str]:
    """Ratios by share, then the times that published ratios imply."""
    for share in SHARES:
        known = {**baselines.by_system, "fMoE": naming(share)}
        found = PointMetrics(point=BASE, by_system=known)
        yield f"at most {share:.1%} of a layer named: {mean_reduction(found):.0%}"
        for name, (ordered, quantity) in ORDERS.items():
            # A system without hits has no ratio of them.
            rivals = [system for system in BASELINES if system in ordered]
            ratios = ", ".join(f"{system} {found.ratio(quantity, system):.2f}" for system in rivals)
            yield f"  {name} {found.average(quantity, 'fMoE'):.2f}; over {ratios}"

    for row in published_rows("validation.published.fmoe", "figures.csv"):
        quantity = row.quantity.removesuffix("_ratio")
        if row.environment == "both data sets":
            other = baselines.average(quantity, row.system)
            yield f"published {row.value} of {row.system}'s {quantity} {other:.2f}: {row.value * other:.2f}"


def main() -> None:
    """Print the lines."""
    for line in lines(measure(BASELINES, BASE, 0, LMSYS)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
