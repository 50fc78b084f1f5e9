"""Compiling everything ahead of a first run.

What numba keeps on disk serves every later process of this computer.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context

from numba.core import event

from hwprofiles import load_machine
from planner.bounds.alike import add_cells
from planner.bounds.draws import mean_bounds
from planner.bounds.frontier import fill_frontiers
from planner.search.objectives import Goal
from planner.search.search import search
from sim.costs.memory import Residency
from sim.engine import engine
from sim.engine.compilation import is_kept
from sim.model.library import load_model
from sim.policies import POLICIES, find_policy
from sim.routing import load_routing
from sim.step.lowering.carried import emit_carried_run
from sim.step.lowering.live_fast import drive
from sim.step.lowering.passes import emit_run
from sim.step.lowering.pipeline import emit_pipelined_run
from sim.step.lowering.static_run import process, static_job
from sim.step.simulate import Scenario, draw, problem_of, simulate
from sim.workload.batch import Batch, forward_passes

NUM_PROCESSES = 2
FITTED_MODEL = "qwen3-next-80b-a3b"
"""A model with fitted routing statistics, whose draws take other kernels than alike experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileStep:
    """One step of compiling: its name, and the function that runs what is compiled.

    ``after`` names the steps whose kernels it takes in. ``share`` is its part of the whole work,
    for a progress bar alone.
    """

    name: str
    run: Callable[[], None]
    share: float
    after: tuple[str, ...] = ()


LARGEST = (add_cells, drive, fill_frontiers, emit_carried_run, emit_pipelined_run, emit_run)
"""Kernels that take most of the time, at least one of each step that compiles for long."""


def is_prepared() -> bool:
    """Whether the largest kernels are kept on this computer, or came with the wheel."""
    return all(is_kept(kernel) for kernel in LARGEST)


def run_static() -> None:
    """Simulate a policy whose residents stay, as one program."""
    simulate(_scenario("fiddler"))


def run_live() -> None:
    """Simulate a policy whose residents change, gate by gate."""
    simulate(_scenario("mixtral-offloading"))


def run_other_static() -> None:
    """Simulate every policy without a cache by score, for the kernels that only some need."""
    for name, policy in POLICIES.items():
        if policy.cache.score is None:
            simulate(_scenario(name))


def run_other_caches() -> None:
    """Simulate every policy with a cache by score, for the kernels that only some need."""
    for name, policy in POLICIES.items():
        if policy.cache.score is not None:
            simulate(_scenario(name))


def run_from_python() -> None:
    """Simulate with the reference engine, whose processes call kernels one by one.

    A policy whose residents stay is also run gate by gate, as real lanes run it.
    """
    for name in ("fiddler", "mixtral-offloading"):
        simulate(_scenario(name, engine="reference"))
    scenario = _scenario("fiddler")
    problem = problem_of(scenario)
    residency = scenario.policy.placement.place(problem)
    assert isinstance(residency, Residency), "the model fits"
    passes = forward_passes(scenario.batch, scenario.policy.feeding)
    job = static_job(scenario.policy, problem, residency, passes)
    engine("reference").run_process(job.platform, lambda session: process(job, session))


def draw_routing() -> None:
    """Draw experts that are alike, and experts of fitted statistics."""
    for scenario in (_scenario("fiddler", "uniform"), _scenario("fiddler", model=FITTED_MODEL)):
        draw(scenario, scenario.policy.feeding)


def bound() -> None:
    """Bound a mean, where experts are alike and where they are not."""
    scenario = _scenario("on-demand")
    # The two take different kernels.
    for are_alike in (False, True):
        mean_bounds(
            problem_of(scenario), [draw(scenario, scenario.policy.feeding)], are_alike=are_alike
        )


def search_plan() -> None:
    """Search a plan, for what only its placements need."""
    search(_scenario("on-demand"), Goal(), 1)


STEPS = (
    CompileStep(name="simulating caches", run=run_live, share=0.4),
    CompileStep(name="simulating static residents", run=run_static, share=0.15),
    CompileStep(name="bounding", run=bound, share=0.2, after=("simulating static residents",)),
    CompileStep(name="drawing routings", run=draw_routing, share=0.05, after=("bounding",)),
    # Apart, because those of static residents need not wait for caches.
    CompileStep(
        name="other policies of static residents",
        run=run_other_static,
        share=0.1,
        after=("simulating static residents",),
    ),
    CompileStep(
        name="other caches",
        run=run_other_caches,
        share=0.05,
        after=("simulating caches",),
    ),
    CompileStep(
        name="searching",
        run=search_plan,
        share=0.05,
        after=("simulating caches", "simulating static residents", "bounding"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """How far the compiling is: the share done, the steps under way, and the functions that were
    new.
    """

    done: float
    under_way: tuple[str, ...]
    num_functions: int


def prepare(steps: tuple[CompileStep, ...] = STEPS) -> Iterator[Compiled]:
    """Run the steps in two processes; yield how far they are whenever a step begins or ends.

    The longest come first. No step begins before those whose kernels it takes in, so that no kernel
    is compiled twice.
    """
    waiting = list(steps)
    done = 0.0
    num_functions = 0
    ended: set[str] = set()
    running: dict[Future[int], CompileStep] = {}
    # Spawned, because a fork takes over the locks of threads that it does not have.
    with ProcessPoolExecutor(NUM_PROCESSES, mp_context=get_context("spawn")) as processes:
        while waiting or running:
            for step in [step for step in waiting if ended.issuperset(step.after)]:
                if len(running) < NUM_PROCESSES:
                    running[processes.submit(run_step, step)] = step
                    waiting.remove(step)
            names = tuple(step.name for step in running.values())
            yield Compiled(done=done, under_way=names, num_functions=num_functions)

            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step = running.pop(future)
                num_functions += future.result()
                done += step.share
                ended.add(step.name)
    # The end is stated, because a sum of shares may miss 1 by rounding.
    yield Compiled(done=1.0, under_way=(), num_functions=num_functions)


def run_step(step: CompileStep) -> int:
    """Run a step in this process; return how many functions it compiled."""
    with event.install_recorder("numba:compile") as compilations:
        step.run()
    return len(compilations.buffer) // 2  # a start and an end each


def _scenario(
    policy_name: str,
    routing: str | None = None,
    *,
    model: str = "mixtral-8x7b",
    engine: str = "fast",
) -> Scenario:
    loaded = load_model(model)
    return Scenario(
        machine=load_machine("desktop-rtx-4090-ddr5"),
        model=loaded,
        # As short as can be: kernels are compiled for types, not for sizes.
        batch=Batch(prompt_tokens=4, output_tokens=2),
        policy=find_policy(policy_name),
        routing=load_routing(routing, loaded),
        engine=engine,
    )
