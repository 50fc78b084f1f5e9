"""Compare plans for llama.cpp with its own fit and with the best -ncmoe, cell by cell.

    python benchmarks/runtime_plans.py -o grid.md

The cells are six machines, four models and two loads. The prices of llama.cpp predict all times;
nothing is run.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hwprofiles import load_machine
from planner.runtimes.asked import Asked
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.plan_file import call_of
from planner.runtimes.search import NoRuntimePlan, RuntimePlan, plan_runtime
from sim.runtimes import kernel_format, runtime_host
from sim.runtimes.model_files import load_model_for
from sim.runtimes.tensors import tensors_of

RUNTIME = "llama.cpp"
MACHINES = (
    "RTX 3060 + Ryzen 5 5600X + 2x32GB DDR4-3200",
    "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800",
    "desktop-rtx-3090-ddr4",
    "desktop-rtx-4090-ddr5",
    "desktop-rtx-5090-ddr5",
    "server-8ch-ddr5-rtx-4090",
)
MODELS = (
    ("qwen3-30b-a3b", "Q4_K_M"),
    ("gpt-oss-120b", None),
    ("glm-4.5-air", "Q4_K_M"),
    ("qwen3-235b-a22b", "Q4_K_M"),
)
LOADS = {
    "chat": RuntimeLoad(prompt_tokens=200, output_tokens=400, rounds=10),
    "long prompt": RuntimeLoad(prompt_tokens=16_000, output_tokens=500),
}
COMPARED = ("--fit, its own choice", "-ncmoe, best N", "-ncmoe and -ub, best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One machine, model and load, with the plan or the reason why there is none."""

    machine: str
    model: str
    load: str
    found: RuntimePlan | NoRuntimePlan


def cells() -> Iterator[Cell]:
    """Plan every cell."""
    for machine in MACHINES:
        for model, quantization in MODELS:
            for load in LOADS:
                found = plan_runtime(_asked(machine, model, quantization, load))
                yield Cell(machine=machine, model=model, load=load, found=found)


def _asked(machine_name: str, model_name: str, quantization: str | None, load: str) -> Asked:
    machine = load_machine(machine_name)
    file = load_model_for(RUNTIME, model_name, quantization)
    return Asked(
        runtime=RUNTIME,
        model=file.model,
        quantization=kernel_format(file.model, file.quantization),
        host=runtime_host(machine),
        load=LOADS[load],
        limits=RuntimeLimits(),
        tensors=tensors_of(file.model),
    )


def gain(cell: Cell, name: str) -> float | None:
    """Return by which fraction the plan's round is faster than a rival's; None if none fits."""
    assert isinstance(cell.found, RuntimePlan)
    rival = next(rival for rival in cell.found.rivals if rival.name == name)
    if rival.option is None:
        return None
    return rival.option.timing.end_to_end_s / cell.found.best.timing.end_to_end_s - 1


def table(done: Sequence[Cell]) -> Iterator[str]:
    """Yield the lines of the table, then a summary for each load."""
    yield (
        "| machine | model | load | decode, tokens/s | prefill, tokens/s | against --fit "
        "| against best -ncmoe | against best -ncmoe and -ub |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for cell in done:
        yield _line(cell)
    yield ""
    for load in LOADS:
        yield from _summary(load, [cell for cell in done if cell.load == load])


def _line(cell: Cell) -> str:
    head = f"| {cell.machine} | {cell.model} | {cell.load} "
    if isinstance(cell.found, NoRuntimePlan):
        return f"{head}| no plan: {cell.found.reason} | | | | |"
    timing = cell.found.best.timing
    prompt_tokens = cell.found.asked.load.prompt_tokens
    gains = " | ".join(_percent(gain(cell, name)) for name in COMPARED)
    decode = _rate(1 / timing.tpot_s)
    return f"{head}| {decode} | {_rate(prompt_tokens / timing.ttft_s)} | {gains} |"


def _rate(value: float) -> str:
    """Return a rate in words, with three significant digits."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _percent(value: float | None) -> str:
    return "does not fit" if value is None else f"{value:+.1%}"


def _summary(load: str, done: Sequence[Cell]) -> Iterator[str]:
    planned = [cell for cell in done if isinstance(cell.found, RuntimePlan)]
    for name in COMPARED:
        gains = [found for cell in planned if (found := gain(cell, name)) is not None]
        if gains:
            yield (
                f"- {load}, against {name}: median {median(gains):+.1%}, "
                f"{min(gains):+.1%} to {max(gains):+.1%} in {len(gains)} cells"
            )


def commands(done: Sequence[Cell]) -> Iterator[str]:
    """Yield the command-line arguments of every plan, after the cell's names."""
    for cell in done:
        if isinstance(cell.found, RuntimePlan):
            yield f"{cell.machine}, {cell.model}, {cell.load}: {call_of(cell.found.best).line}"


def main() -> None:
    """Plan all cells and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    output: Path = parser.parse_args().output
    done = list(cells())
    lines = [*table(done), "", "```text", *commands(done), "```"]
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
