"""`rosin simulate`: one model on one machine under one policy."""

from rosin.cli.options import JsonOption, PolicyOption, QuietOption
from rosin.cli.output import Output
from rosin.cli.scenario import ScenarioOptions, build_scenarios, record_of, takes_scenario


@takes_scenario
def simulate(options: ScenarioOptions, policy: PolicyOption, json: JsonOption = None, quiet: QuietOption = False) -> None:
    """Predict how fast a model runs on a machine under a policy."""
    from rosin.cli.failures import Infeasible
    from rosin.report.run_result import run_result, run_warnings
    from rosin.report.run_tables import run_page
    from rosin.report.tables import shortfall
    from sim.provenance import provenance_of
    from sim.simulate import Run
    from sim.simulate import simulate as run_scenario

    [scenario] = build_scenarios(options, [policy])
    run = run_scenario(scenario)
    if not isinstance(run, Run):
        raise Infeasible(f"no feasible plan: {shortfall(run)}")
    provenance = provenance_of(run)
    result = run_result(run, provenance, record_of(options, scenario, options.command("simulate", "--policy", policy), has_policy=True))
    output = Output(json=json, seed=options.seed, quiet=quiet)
    output.emit(
        result.model_dump(mode="json"), run_page(run, result), provenance=provenance.weakest, warnings=run_warnings(run, provenance)
    )
