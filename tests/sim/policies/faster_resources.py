"""``python -m tests.sim.policies.faster_resources``: look for runs that a faster resource makes slower.

Policies that know prices or the clock, over models and machines that ship.
"""

import argparse
import random
import time
from collections import Counter
from dataclasses import replace

from hwprofiles import InputError
from planner.search.plan import Setting
from sim.policies import POLICIES
from sim.step.simulate import Run, Scenario, simulate
from tests.sim.policies.other_machines import RESOURCES, faster

CHOSEN = ("daop", "moe-lightning", "hybrimoe", "moe-infinity")
MODELS = (
    "granite-3-1b-a400m",
    "mixtral-8x7b",
    "olmoe-1b-7b",
    "deepseek-v2-lite",
    "qwen3-30b-a3b",
    "phi-3.5-moe",
    "gpt-oss-20b",
)
MACHINES = (
    "desktop-rtx-3060-ddr4",
    "desktop-rtx-3090-ddr4",
    "desktop-rtx-4090-ddr5",
    "desktop-rtx-5090-ddr5",
    "server-8ch-ddr5-rtx-4090",
    "fiddler-e1",
    "fiddler-l4",
)
FACTORS = (1.1, 1.25, 1.5, 2, 3, 4, 8)
SLOWER_FRACTION = 0.001


def main() -> None:
    """Draw scenarios for so long, and print each that is slower by more than 0.1 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=170.0, help="of the processor's time")
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    num_runs: Counter[str] = Counter()
    num_slower: Counter[str] = Counter()
    start_s = time.process_time()
    while time.process_time() - start_s < chosen.seconds:
        try:
            _try_one(draw, num_runs, num_slower)
        except InputError:
            continue  # such as a policy that does not run that model
    for name in CHOSEN:
        print(f"{name}: {num_slower[name]} of {num_runs[name]} runs slower")


def _try_one(draw: random.Random, num_runs: Counter[str], num_slower: Counter[str]) -> None:
    """One scenario, and each resource made faster by itself."""
    name = draw.choice(CHOSEN)
    setting = Setting(
        model=draw.choice(MODELS),
        machine=draw.choice(MACHINES),
        prompt_tokens=draw.choice([1, 16, 64, 256, 512]),
        output_tokens=draw.choice([4, 12]),
        batch_size=draw.choice([1, 1, 2, 4]),
    )
    scenario = _with_slots(setting.scenario(POLICIES[name]), draw)
    base = simulate(scenario)
    if not isinstance(base, Run):
        return
    for resource in RESOURCES:
        factor = draw.choice(FACTORS)
        run = simulate(replace(scenario, machine=faster(scenario.machine, (resource,), factor)))
        if not isinstance(run, Run):
            continue
        num_runs[name] += 1
        slower = run.metrics.end_to_end_s / base.metrics.end_to_end_s - 1
        if slower > SLOWER_FRACTION:
            num_slower[name] += 1
            slots = scenario.slots_per_layer
            print(f"{slower:.2%} {name} {resource} x {factor:g}, slots {slots}, {setting}")


def _with_slots(scenario: Scenario, draw: random.Random) -> Scenario:
    """Mostly with a stated share of the experts on the GPU, else with what memory holds."""
    is_stated = draw.random() < 0.6
    if not is_stated or scenario.policy.name == "moe-lightning":
        return scenario
    share = draw.choice([0.1, 0.25, 0.5, 0.75])
    return replace(scenario, slots_per_layer=max(1, int(scenario.model.num_experts * share)))


if __name__ == "__main__":
    main()
