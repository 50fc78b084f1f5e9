"""Compiling everything ahead of a first run: what numba keeps on disk serves every later process of
this computer.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from hwprofiles import load_machine
from planner.bounds.draws import mean_bounds
from planner.search.objectives import Goal
from planner.search.search import search
from sim.model.library import load_model
from sim.policies import POLICIES, find_policy
from sim.routing import load_routing
from sim.step.simulate import Scenario, draw, problem_of, simulate
from sim.workload.batch import Batch


def prepare() -> None:
    """Run a small scenario of each kind, in two processes: what takes longest to compile side by
    side.
    """
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        for done in [processes.submit(step) for step in STEPS]:
            done.result()


def simulate_planned_and_live() -> None:
    """A run as one program, one gate by gate, then all others, for what only some of them need; a
    draw of experts alike.
    """
    for name in ("fiddler", "mixtral-offloading", *POLICIES):
        simulate(_scenario(name))
    alike = _scenario("fiddler", "uniform")
    draw(alike, alike.policy.feeding)


def bound_and_search() -> None:
    """The static and the clairvoyant bound on a mean, where experts are alike and where they are
    not, and a search, for what only its placements need.
    """
    scenario = _scenario("on-demand")
    for are_alike in (False, True):
        mean_bounds(
            problem_of(scenario), [draw(scenario, scenario.policy.feeding)], are_alike=are_alike
        )
    search(scenario, Goal(), 1)


STEPS: tuple[Callable[[], None], ...] = (simulate_planned_and_live, bound_and_search)


def _scenario(policy_name: str, routing: str | None = None) -> Scenario:
    model = load_model("mixtral-8x7b")
    return Scenario(
        machine=load_machine("desktop-rtx-4090-ddr5"),
        model=model,
        batch=Batch(prompt_tokens=4, output_tokens=2),
        policy=find_policy(policy_name),
        routing=load_routing(routing, model),
    )
