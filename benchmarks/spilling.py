"""What it is worth that an idle CPU takes resident experts too: python benchmarks/spilling.py [batch|chat …].

For every cell the shortest run over 1, 2, 4 and 8 staging buffers, mean over draws, in s: misses alone split over CPU and link ("lanes"),
residents spilt too with the same placement ("spill"), and with one that foresees it ("foreseen"); the whole model on the GPU, without and
with spilling. Then the same as user CPU time, in ms a run, of the two rules.
"""

import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from planner.plan import Setting
from sim.draws import simulate_draws
from sim.policies import Policy, find_policy
from sim.policies.base import Dispatch, Placement
from sim.policies.dispatch.constant import FetchDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.three_lanes import ThreeLanesDispatch
from sim.policies.overlap.lanes import LanesOverlap
from sim.policies.placement.gain import GainPlacement
from sim.policies.placement.layers import AllLayersPlacement
from sim.simulate import Run

MODELS = ("mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite", "gpt-oss-120b", "glm-4.5-air")
MACHINES = ("desktop-rtx-4090-ddr5", "fiddler-e2", "a100-40", "server-12ch-ddr5-rtx-5090")
LOADS = {
    "chat": {"prompt_tokens": 64, "output_tokens": 64, "batch_size": 1},
    "batch": {"prompt_tokens": 32, "output_tokens": 16, "batch_size": 32},
}
QUANTIZATIONS = {"glm-4.5-air": "4bit"}
DRAWS = 4
WAYS: dict[str, tuple[Placement, Dispatch]] = {
    "lanes": (GainPlacement(misses="balanced"), ThreeLanesDispatch()),
    "spill": (GainPlacement(misses="balanced"), SpillDispatch()),
    "foreseen": (GainPlacement(misses="spill"), SpillDispatch()),
    "all": (AllLayersPlacement(), FetchDispatch()),
    "all + spill": (AllLayersPlacement(), SpillDispatch()),
}


def row(load: str, model: str, machine: str) -> str:
    """One line of the table."""
    counts = LOADS[load] | {"draws": DRAWS} | ({"quantization": QUANTIZATIONS[model]} if model in QUANTIZATIONS else {})
    setting = Setting.model_validate({"model": model, "machine": machine, **counts})
    base = find_policy("on-demand")
    shown = []
    for placement, dispatch in WAYS.values():
        staged = (1,) if isinstance(placement, AllLayersPlacement) else (1, 2, 4, 8)
        ends_s = [end_s(setting, replace(base, placement=placement, dispatch=dispatch, overlap=_lanes(buffers))) for buffers in staged]
        shown.append(min(ends_s))
    took = [
        user_ms(setting, replace(base, placement=WAYS["lanes"][0], dispatch=WAYS[name][1], overlap=_lanes(2)))
        for name in WAYS
        if name in ("lanes", "spill")
    ]
    texts = [f"{value:.4g}" if value < float("inf") else "–" for value in shown]
    gain = f"{100 * (1 - min(shown[1], shown[2]) / shown[0]):.1f} %" if shown[0] < float("inf") else "–"
    whole = f"{100 * (1 - shown[4] / shown[3]):.1f} %" if shown[3] < float("inf") else "–"
    names = f"| {load} | {model} | {machine} |"
    return f"{names} {' | '.join(texts[:3])} | {gain} | {texts[3]} | {texts[4]} | {whole} | {took[0]:.0f} | {took[1]:.0f} |"


def end_s(setting: Setting, policy: Policy) -> float:
    """Mean end over the draws; infinite where it does not fit."""
    found = simulate_draws(setting.scenario(policy), DRAWS)
    return found.metrics.end_to_end_s if isinstance(found, Run) else float("inf")


def user_ms(setting: Setting, policy: Policy) -> float:
    """CPU time of the process for one draw, placement included."""
    began = time.process_time()
    simulate_draws(setting.scenario(policy), 1)
    return 1000 * (time.process_time() - began)


def _lanes(buffers: int) -> LanesOverlap:
    return LanesOverlap(staging_experts=buffers)


if __name__ == "__main__":
    print("| load | model | machine | lanes | spill | foreseen | gain | all | all + spill | gain | lanes ms | spill ms |")
    print("|" + "---|" * 12)
    for load, model, machine in product(sys.argv[1:] or LOADS, MODELS, MACHINES):
        print(row(load, model, machine), flush=True)
