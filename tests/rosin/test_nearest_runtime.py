"""Which runtime comes nearest to a plan of any policy: by the plan's load, the nearest first."""

from types import SimpleNamespace
from typing import Any

import pytest

from planner.search.objectives import Goal
from planner.search.setting import Setting
from rosin.commands.plan.nearest import nearest_lines, nearest_runtimes
from rosin.report.json_documents import PlanRuntime

PC = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"


def _found(objective: str = "throughput", tpot_s: float = 0.01, **others: Any) -> list[PlanRuntime]:
    """What runtimes reach where a plan is simulated at 100 tokens/s, its first token after 1 s."""
    setting = Setting(
        model="qwen3-30b-a3b",
        quantization="Q4_K_M",
        machine=others.pop("machine", PC),
        prompt_tokens=512,
        output_tokens=128,
        **others,
    )
    plan: Any = SimpleNamespace(setting=setting, goal=Goal(objective=objective))
    metrics: Any = SimpleNamespace(ttft_s=1.0, tpot_s=tpot_s)
    return nearest_runtimes(plan, metrics)


def test_the_nearest_is_first() -> None:
    """All runtimes have a row, by what is lost, with a command each."""
    found = _found(tpot_s=0.001)
    lost = [row.lost_fraction for row in found]
    assert None not in lost
    assert lost == sorted(lost, key=lambda value: value or 0.0)
    assert {row.runtime for row in found} == {"llama.cpp", "ik_llama.cpp", "ktransformers"}
    assert all(row.command_line for row in found)


def test_the_loss_is_by_the_objective() -> None:
    """A plan whose tokens take twice as long as the runtime's leaves nothing to lose."""
    [fast, *_] = _found("tpot", tpot_s=0.001)
    assert fast.tpot_s is not None
    assert fast.lost_fraction == pytest.approx(1 - 0.001 / fast.tpot_s)
    [slow, *_] = _found("tpot", tpot_s=2 * fast.tpot_s)
    assert slow.lost_fraction is not None
    assert slow.lost_fraction < 0


def test_batches_have_no_runtime() -> None:
    """Runtimes are planned for one user."""
    assert _found(batch_size=4) == []


def test_the_page_names_the_nearest() -> None:
    """One sentence with both speeds and what is lost; without a plan, the reason."""
    found = _found(tpot_s=0.001)
    result: Any = SimpleNamespace(
        runtimes=found, predicted=SimpleNamespace(tpot_s=0.001), objective="throughput"
    )
    [line] = nearest_lines(result)
    assert f"nearest runtime: {found[0].runtime}, predicted at" in str(line)
    lost = found[0].lost_fraction
    assert lost is not None
    longer = f"{1 / (1 - lost):.2f} times as long"
    assert f"prompt and answer together take {longer}" in str(line)
    result.objective = "tpot"
    [line] = nearest_lines(result)
    assert f"each further token takes {longer}" in str(line)
    none = PlanRuntime.model_validate(
        dict.fromkeys(PlanRuntime.model_fields) | {"runtime": "llama.cpp", "reason": "too large"}
    )
    [line] = nearest_lines(SimpleNamespace(runtimes=[none]))  # type: ignore[arg-type]
    assert "too large" in str(line)
    assert list(nearest_lines(SimpleNamespace(runtimes=[]))) == []  # type: ignore[arg-type]
