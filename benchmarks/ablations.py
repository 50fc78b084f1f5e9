"""Compare every named system with ablations: without prefetch, or with a plainer cache or dispatch.

    python benchmarks/ablations.py [ROW ...]

A row that is much slower than one of its own ablations is simulated wrongly, or its idea does not
pay on that machine. The table has TPOT and TTFT of row and ablation in ms. Beside them stands by
how much the row takes longer. All runs use one draw of the routing.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from planner.search.plan import Setting
from sim.costs.memory import Infeasible
from sim.policies import POLICIES, Policy
from sim.policies.cache.lru import LruCache
from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.prefetch.none import NoPrefetch
from sim.step.metrics import Metrics
from sim.step.simulate import simulate

CELLS = (
    ("mixtral-8x7b", None, "a100-40"),
    ("mixtral-8x7b", None, "fiddler-e1"),
    ("mixtral-8x7b", None, "desktop-rtx-5090-ddr5"),
    ("phi-3.5-moe", None, "a100-40"),
    ("phi-3.5-moe", None, "fiddler-e2"),
    ("deepseek-v2-lite", None, "desktop-rtx-3060-ddr4"),
    ("qwen3-30b-a3b", None, "desktop-rtx-4090-ddr5"),
    ("qwen3-30b-a3b", None, "desktop-rtx-5090-ddr5"),
    ("gpt-oss-120b", None, "fiddler-e1"),
    ("glm-4.5-air", "4bit", "a100-40"),
)


def ablations(row: Policy) -> Iterator[tuple[str, Policy]]:
    """Yield the ablations of a row: a name, and the row with one part replaced by a plainer one."""
    if row.prefetch.is_active:
        yield "no prefetch", replace(row, prefetch=NoPrefetch())
    if row.cache.score is not None and not isinstance(row.cache, LruCache):
        yield "lru", replace(row, cache=LruCache(is_global=row.cache.is_global))
    if not row.cache.is_static:
        yield "nothing moves in", replace(row, cache=StaticCache(), prefetch=NoPrefetch())
    if row.tuning is None and row.dispatch.rule not in (CpuDispatch().rule, FetchDispatch().rule):
        yield "cpu", replace(row, dispatch=CpuDispatch())
        yield "fetch", replace(row, dispatch=FetchDispatch())


def timed(setting: Setting, policy: Policy) -> Metrics | None:
    """The metrics of a run; None where the policy does not fit."""
    run = simulate(setting.scenario(policy))
    return None if isinstance(run, Infeasible) else run.metrics


def main() -> None:
    """Print the table: a line for each row, model, machine and ablation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "rows", nargs="*", default=[row.name for row in POLICIES.values()], metavar="ROW"
    )
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--slots-per-layer", type=int)
    options = parser.parse_args()
    print(
        "| row | model | machine | ablation | tpot, ms | of the ablation | | ttft, ms | of the ablation | |"
    )
    print("|---" * 10 + "|")
    for name in options.rows:
        for model, quantization, machine in CELLS:
            setting = Setting(
                model=model,
                quantization=quantization,
                machine=machine,
                prompt_tokens=options.prompt_tokens,
                output_tokens=options.output_tokens,
                expert_slots_per_layer=options.slots_per_layer,
            )
            whole = timed(setting, POLICIES[name])
            for left, policy in ablations(POLICIES[name]) if whole is not None else ():
                part = timed(setting, policy)
                if whole is None or part is None:
                    continue
                figures = []
                for own, other in ((whole.tpot_s, part.tpot_s), (whole.ttft_s, part.ttft_s)):
                    figures += [f"{own * 1e3:.1f}", f"{other * 1e3:.1f}", f"{own / other - 1:+.0%}"]
                print(
                    f"| {name} | {model} | {machine} | {left} | {' | '.join(figures)} |", flush=True
                )


if __name__ == "__main__":
    main()
