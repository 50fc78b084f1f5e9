"""What one more of a resource really gives a policy: shadow prices, checked by simulating it on the larger machine."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

from planner.bounds.shadow import GIGA, with_more_dram, with_more_link, with_more_memory
from planner.threads import NUM_THREADS
from sim.draws import mean_metrics, seed_of
from sim.memory import Residency
from sim.metrics import Metrics
from sim.simulate import Drawn, Scenario, problem_of, run_drawn, tuned


def resimulated(scenario: Scenario, metrics: Sequence[Metrics], draws: Sequence[Drawn]) -> dict[str, float | None]:
    """Change in seconds of the scenario's mean end with one GB more of GPU memory, one GB/s more of link, of DRAM (10^9).

    ``metrics`` are its own on the first of the ``draws``, over which the means are taken. The policy places anew on the larger machine.
    None where it does not fit.
    """
    now_s = mean_metrics(metrics).end_to_end_s
    machine = scenario.machine
    larger = {
        "end_to_end_s_per_gpu_memory_gb": with_more_memory(machine, GIGA),
        "end_to_end_s_per_h2d_gb_per_s": with_more_link(machine, GIGA),
        "end_to_end_s_per_dram_gb_per_s": with_more_dram(machine, GIGA),
    }
    with ThreadPoolExecutor(NUM_THREADS) as threads:  # compiled code runs without the interpreter's lock
        running = {name: _runs(threads, replace(scenario, machine=more), draws[: len(metrics)]) for name, more in larger.items()}
        ends_s = {name: mean_metrics([run.result() for run in runs]).end_to_end_s for name, runs in running.items() if runs}
    return {name: ends_s[name] - now_s if name in ends_s else None for name in larger}


def _runs(threads: Executor, scenario: Scenario, draws: Sequence[Drawn]) -> list[Future[Metrics]]:
    """The metrics of each draw's run, to come; none where it does not fit."""
    scenario = tuned(scenario)
    problem = problem_of(scenario)
    residency = scenario.policy.placement.place(problem)
    if not isinstance(residency, Residency):
        return []

    def metrics(number: int, drawn: Drawn) -> Metrics:
        """Of the run on that draw; its timeline is not kept."""
        return run_drawn(replace(scenario, seed=seed_of(scenario.seed, number)), problem, residency, drawn).metrics

    return [threads.submit(metrics, number, drawn) for number, drawn in enumerate(draws)]
