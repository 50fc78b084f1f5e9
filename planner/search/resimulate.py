"""What one more unit of a resource gives a policy: shadow prices, checked by simulating the policy
on the larger machine.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hwprofiles.units import GB
from planner.bounds.shadow import with_more_dram, with_more_link, with_more_memory
from planner.search.threads import NUM_THREADS
from sim.costs.memory import Residency
from sim.policies.problem import Problem
from sim.room import Rooms
from sim.step.draws import mean_metrics, seed_of
from sim.step.metrics import Metrics
from sim.step.repeated import metrics_drawn
from sim.step.simulate import Drawn, Scenario, problem_of, tuned


def resimulated(
    scenario: Scenario, metrics: Sequence[Metrics], draws: Sequence[Drawn]
) -> dict[str, float | None]:
    """Return by how many seconds the scenario's mean end changes on larger machines.

    A larger machine has one GB more of GPU memory, one GB/s more of link, or one GB/s more of DRAM
    (10^9 bytes). ``metrics`` are the scenario's own on the first of the ``draws``, over which the
    means are taken. The policy is tuned and places anew on the larger machine. None where it does
    not fit.
    """
    now_s = mean_metrics(metrics).end_to_end_s
    machine = scenario.machine
    larger = {
        "end_to_end_s_per_gpu_memory_gb": with_more_memory(machine, GB),
        "end_to_end_s_per_h2d_gb_per_s": with_more_link(machine, GB),
        "end_to_end_s_per_dram_gb_per_s": with_more_dram(machine, GB),
    }
    ends_s = _mean_ends_s(
        [replace(scenario, machine=each) for each in larger.values()], draws[: len(metrics)]
    )
    return {
        name: None if end_s is None else end_s - now_s
        for name, end_s in zip(larger, ends_s, strict=True)
    }


def _mean_ends_s(scenarios: Sequence[Scenario], draws: Sequence[Drawn]) -> list[float | None]:
    """Return the mean end of each scenario over the draws, in seconds; None where it does not fit.

    The scenarios run one after another on each draw, while what they share of the draw is still
    there.
    """
    placed = [_placed(scenario) for scenario in scenarios]
    rooms = Rooms()

    def ends(number: int) -> list[Metrics | None]:
        """The metrics of every scenario on that draw."""
        return [
            None if each is None else _run(each, number, draws[number], rooms) for each in placed
        ]

    with ThreadPoolExecutor(
        NUM_THREADS
    ) as threads:  # compiled code runs without the interpreter's lock
        found = list(threads.map(ends, range(len(draws))))
    of_scenarios = [
        [metrics for metrics in own if metrics is not None] for own in zip(*found, strict=True)
    ]
    return [mean_metrics(own).end_to_end_s if own else None for own in of_scenarios]


def _placed(scenario: Scenario) -> tuple[Scenario, Problem, Residency] | None:
    # Tuned anew, because a larger machine may be best at other settings.
    scenario = tuned(scenario)
    problem = problem_of(scenario)
    residency = scenario.policy.placement.place(problem)
    return (scenario, problem, residency) if isinstance(residency, Residency) else None


def _run(
    placed: tuple[Scenario, Problem, Residency], number: int, drawn: Drawn, rooms: Rooms
) -> Metrics:
    scenario, problem, residency = placed
    of_draw = replace(scenario, seed=seed_of(scenario.seed, number))
    return metrics_drawn(of_draw, problem, residency, drawn, rooms)
