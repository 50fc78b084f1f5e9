"""Compare plans for one card and for two, and the two-card plan with its bounds.

    python benchmarks/two_cards.py

Four machines have two cards each, alike or unlike; each runs four models. The benchmark prints one
line a cell.
"""

import time

from hwprofiles import InputError
from planner.search.make import make_plan
from planner.search.objectives import Goal
from planner.search.setting import Setting
from rosin.version import __version__
from sim.costs.memory import Infeasible

MACHINES = (
    "2x RTX 3090 + Ryzen 9 5950X + 4x32GB DDR4-3200",
    "2x RTX 4090 + Ryzen 9 7950X + 4x48GB DDR5-5600",
    "RTX 4090 + RTX 3060 12GB + Ryzen 9 7950X + 2x48GB DDR5-5600",
    "RTX 5090 + RTX 3090 + Threadripper 7960X + 4x64GB DDR5-5200",
)
MODELS = (
    ("mixtral-8x7b", "8bit"),
    ("qwen3-30b-a3b", "16bit"),
    ("gpt-oss-120b", None),
    ("glm-4.5-air", "8bit"),
)
TOKENS = 64
"""Tokens of the prompt, and of the answer."""


def main() -> None:
    """Print the grid."""
    print(
        "machine · model · one card s · two cards s · layers · gap to static · to clairvoyant · s"
    )
    for machine in MACHINES:
        for model, quantization in MODELS:
            print(f"{machine} · {model} · {_cell(machine, model, quantization)}", flush=True)


def _cell(machine: str, model: str, quantization: str | None) -> str:
    """Plan one cell; the best single-card layout is among the offers of the plan."""
    began = time.perf_counter()
    setting = Setting(
        model=model,
        quantization=quantization,
        machine=machine,
        prompt_tokens=TOKENS,
        output_tokens=TOKENS,
        gpus=2,
    )
    try:
        found = make_plan(setting, Goal(objective="throughput"), __version__)
    except InputError as error:
        return str(error)
    if isinstance(found, Infeasible) or not hasattr(found, "plan"):
        return f"no plan: {found}"
    plan = found.plan
    alone = [
        row["end_to_end_s"]
        for row in plan.offers
        if "end_to_end_s" in row and sorted(row["layers_by_card"])[0] == 0
    ]
    gaps = [plan.bounds[f"gap_to_{name}_bound_fraction"] for name in ("static", "clairvoyant")]
    shown = [" – " if gap is None else f"{gap:.2%}" for gap in gaps]
    one = f"{min(alone):.3f}" if alone else "–"
    layers = "+".join(map(str, plan.setting.layers_by_card))
    took_s = time.perf_counter() - began
    return (
        f"{one} · {plan.predicted['end_to_end_s']:.3f} · {layers} · {shown[0]} · {shown[1]} · "
        f"{plan.policy.name} · {took_s:.0f}"
    )


if __name__ == "__main__":
    main()
