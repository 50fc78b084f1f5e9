"""Plan six models on eight machines under four loads, beside every named system and the bounds.

    python benchmarks/planner_grid.py -o DIR

Every cell is stored in DIR/study.sqlite as it finishes. After a stop, the same command continues.
Every run, even a stopped one, writes DIR/grid.csv and DIR/grid.md of the finished cells. ``--cells
N`` ends after N new cells; ``--workers N`` plans N cells at once.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from planner.search.plan import Setting
from planner.study.outcome import OF_PLAN, Outcome, PointJob, evaluate
from planner.study.store import open_store
from planner.study.study import Keys
from planner.study.workers import process_pool

MACHINES = (
    "desktop-rtx-3060-ddr4",
    "desktop-rtx-4090-ddr5",
    "desktop-rtx-5090-ddr5",
    "server-8ch-ddr5-rtx-4090",
    "server-12ch-ddr5-rtx-5090",
    "fiddler-e1",
    "fiddler-e2",
    "a100-40",
)
MODELS = (
    ("deepseek-v2-lite", None),
    ("mixtral-8x7b", None),
    ("phi-3.5-moe", None),
    ("gpt-oss-120b", None),
    ("qwen3-30b-a3b", None),
    ("glm-4.5-air", "4bit"),
)
LOADS = {
    "chat": {"prompt_tokens": 64, "output_tokens": 64, "draws": 16},
    "long prompt": {"prompt_tokens": 1024, "output_tokens": 16, "draws": 4},
    "beams": {"prompt_tokens": 32, "output_tokens": 32, "beams": 4, "draws": 8},
    "batch 32": {"prompt_tokens": 32, "output_tokens": 16, "batch_size": 32, "draws": 4},
}
VERSION = "planner grid"
FASTER = 0.05
STRIDE = 77
COLUMNS = (
    "model",
    "machine",
    "load",
    "plan",
    "plan_end_to_end_s",
    "best_system",
    "plan_faster_fraction",
    "gap_to_static_bound_fraction",
    "gap_to_clairvoyant_bound_fraction",
    "binding_resource",
    "reason",
    "missing_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the grid: a setting, and the names of its model, machine and load."""

    model: str
    machine: str
    load: str
    setting: Setting


def cells() -> Iterator[Cell]:
    """Yield all cells, load by load."""
    for load, counts in LOADS.items():
        for model, quantization in MODELS:
            for machine in MACHINES:
                setting = Setting.model_validate(
                    {"model": model, "quantization": quantization, "machine": machine, **counts}
                )
                yield Cell(model=model, machine=machine, load=load, setting=setting)


def row(cell: Cell, outcome: Outcome) -> dict[str, object]:
    """A finished cell as a line of the table."""
    found: dict[str, object] = dict.fromkeys(COLUMNS) | {
        "model": cell.model,
        "machine": cell.machine,
        "load": cell.load,
    }
    if not outcome.is_feasible:
        return found | {"reason": outcome.reason, "missing_bytes": outcome.missing_bytes}
    best = max(outcome.rivals, key=lambda name: outcome.rivals[name][OF_PLAN], default=None)
    return found | {
        "plan": outcome.policy,
        "plan_end_to_end_s": outcome.metrics["end_to_end_s"],
        "best_system": best,
        "plan_faster_fraction": None if best is None else 1 / outcome.rivals[best][OF_PLAN] - 1,
        "gap_to_static_bound_fraction": outcome.bounds["gap_to_static_bound_fraction"],
        "gap_to_clairvoyant_bound_fraction": outcome.bounds["gap_to_clairvoyant_bound_fraction"],
        "binding_resource": outcome.binding_resource,
    }


def run(folder: Path, most: int | None, num_workers: int) -> list[dict[str, object]]:
    """Plan the cells that the folder lacks, and return the table's lines of all its cells."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, todo = Keys("throughput", VERSION), list(cells())
    jobs = [
        PointJob(
            setting=cell.setting,
            objective="throughput",
            version=VERSION,
            key=keys.key(cell.setting),
        )
        for cell in todo
    ]
    with open_store(folder / "study.sqlite", keys.identity(todo[0].setting)) as store:
        spread = sorted(
            range(len(todo)), key=lambda place: place * STRIDE % len(todo)
        )  # a stopped run has some of everything
        missing = [
            (todo[place], jobs[place])
            for place in spread
            if jobs[place].key not in store.kept_keys()
        ]
        try:
            with process_pool(num_workers) as pool:
                waiting = {pool.submit(evaluate, job): (cell, job) for cell, job in missing[:most]}
                for number, future in enumerate(as_completed(waiting)):
                    cell, job = waiting[future]
                    store.add(job.key, job.setting, future.result())
                    print(
                        f"{number + 1} of {len(missing)}: {cell.model}, {cell.machine}, {cell.load}",
                        file=sys.stderr,
                        flush=True,
                    )
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr)
        kept = store.kept_keys()
        done = [(cell, job.key) for cell, job in zip(todo, jobs, strict=True) if job.key in kept]
        return [
            row(cell, outcome)
            for (cell, _), outcome in zip(done, store.outcomes(key for _, key in done), strict=True)
        ]


def numbers(rows: Sequence[dict[str, object]], name: str) -> list[float]:
    """Return the numbers of a column, without empty cells."""
    return [float(str(line[name])) for line in rows if line[name] is not None]


def summary(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """Yield the findings of the grid as lines of Markdown."""
    planned = [line for line in rows if line["plan"]]
    faster, static = (
        numbers(rows, "plan_faster_fraction"),
        numbers(rows, "gap_to_static_bound_fraction"),
    )
    wide = numbers(rows, "gap_to_clairvoyant_bound_fraction")
    yield f"- {len(rows)} of {len(list(cells()))} cells; {len(planned)} with a plan, in {len(rows) - len(planned)} nothing fits."
    if not planned:
        return
    ahead = sum(fraction > FASTER for fraction in faster)
    yield f"- The least that a plan is faster than the best named system: {min(faster):.2%}; in {ahead} cells more than 5 %."
    if static:
        under = sum(gap <= 0.03 for gap in static)
        yield f"- Gap to the static bound, {len(static)} fixed plans: median {median(static):.1%}, at most 3 % in {under}."
    yield f"- Gap to the clairvoyant bound: median {median(wide):.0%}, from {min(wide):.0%} to {max(wide):.0%}."
    for load in LOADS:
        of_load = [line for line in rows if line["load"] == load]
        gaps = numbers(of_load, "gap_to_static_bound_fraction")
        if gaps:
            yield f"- {load}: median gap to the static bound {median(gaps):.1%} ({len(gaps)} plans)."


def markdown(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """Yield the table in Markdown, one line a cell."""
    yield "| load | model | machine | plan | s | best system | plan faster by | static gap | clairvoyant gap | bound by |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for line in rows:
        head = f"| {line['load']} | {line['model']} | {line['machine']} |"
        if not line["plan"]:
            yield f"{head} nothing fits | | | | | | |"
            continue
        shares = [
            _share(line[name], digits)
            for name, digits in (("plan_faster_fraction", 1), (COLUMNS[7], 1), (COLUMNS[8], 0))
        ]
        end_s = float(str(line["plan_end_to_end_s"]))
        yield f"{head} {line['plan']} | {end_s:.3g} | {line['best_system'] or ''} | {' | '.join(shares)} | {line['binding_resource']} |"


def _share(value: object, digits: int) -> str:
    return "" if value is None else f"{float(str(value)):.{digits}%}"


def main() -> None:
    """Run the grid, and write the table of all finished cells."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cells", type=int, default=None, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    options = parser.parse_args()
    rows = run(options.output, options.cells, options.workers)
    with (options.output / "grid.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    text = "\n".join([*summary(rows), "", *markdown(rows), ""])
    (options.output / "grid.md").write_text(text, encoding="utf-8")
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
