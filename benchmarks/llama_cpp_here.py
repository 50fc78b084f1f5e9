"""Run real llama.cpp on this machine's CPU: laws measured on three shapes, checked on three others.

    python -m benchmarks.llama_cpp_here -o out/llama-cpp-here [--binary PATH] [--rounds N]

One thread runs files of six small shapes in three formats, in interleaved rounds. Times are CPU
times. Laws are fitted on shapes a, c and e; they predict shapes b, d and f.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from validation.accuracy.errors import order
from validation.runtimes.llama_cpp.kernel_fit import (
    decode_amounts,
    fit_laws,
    nodes_per_layer,
    prompt_amounts,
    seconds_of,
)
from validation.runtimes.llama_cpp.kernel_points import EFFORT, KernelPoint, measure_points
from validation.runtimes.llama_cpp.open_session import session_opener
from validation.runtimes.llama_cpp.random_file import MoeShape
from validation.runtimes.llama_cpp.shapes import cases_of, with_other_top_k

FORMATS = ("q8_0", "q4_k", "bf16")


def _say(name: str, stage: str, share: float) -> None:
    """Print how far the measurement of a format is."""
    print(f"{name} {stage} {share:.0%}", flush=True)


def _shape(
    name: str, layers: int, hidden: int, experts: tuple[int, int, int], heads: int
) -> MoeShape:
    count, top_k, inner = experts
    return MoeShape(
        name=name,
        num_layers=layers,
        hidden=hidden,
        num_experts=count,
        top_k=top_k,
        expert_intermediate=inner,
        num_heads=heads,
        num_kv_heads=4,
        head_dim=64 if hidden % 5 else 128,
    )


TRAINED = (
    _shape("a", 16, 1024, (8, 4, 512), 16),
    _shape("c", 12, 2048, (12, 8, 768), 32),
    _shape("e", 32, 768, (12, 6, 256), 12),
)
"""Shapes that laws are fitted on, each with two numbers of experts a token."""

TESTED = (
    _shape("b", 24, 1024, (12, 8, 768), 16),
    _shape("d", 8, 2048, (3, 2, 4096), 32),
    _shape("f", 10, 2560, (2, 1, 1536), 20),
)
"""Shapes that the laws predict."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file's milliseconds a token, measured and predicted, and the noise of the measurement."""

    name: str
    is_predicted: bool
    decode_ms: float
    decode_predicted_ms: float
    decode_noise_fraction: float
    prefill_ms: float
    prefill_predicted_ms: float
    prefill_noise_fraction: float


def main() -> None:
    """Measure all files, fit laws, predict all points, and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", type=Path, required=True)
    parser.add_argument("--binary", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    points: list[KernelPoint] = []
    program = ""
    for name in FORMATS:
        trained = cases_of(TRAINED, (name,))
        cases = (*trained, *map(with_other_top_k, trained), *cases_of(TESTED, (name,)))
        with tempfile.TemporaryDirectory(prefix="rosin-") as folder:
            measured = measure_points(
                cases,
                session_opener(asked.binary),
                Path(folder),
                effort=replace(EFFORT, rounds=asked.rounds),
                on_stage=partial(_say, name),
            )
        points += measured.points
        program = measured.program
    rows = predicted_rows(points)
    asked.o.mkdir(parents=True, exist_ok=True)
    (asked.o / "rows.json").write_text(
        json.dumps({"program": program, "rows": [asdict(row) for row in rows]}, indent=1)
    )
    text = page(program, rows)
    (asked.o / "page.md").write_text(text)
    print(text)


def predicted_rows(points: Sequence[KernelPoint]) -> list[Row]:
    """Fit laws on the trained shapes and predict every point."""
    names = {shape.name for shape in TRAINED}
    trained = [point for point in points if point.shape_name in names]
    laws = fit_laws(trained)
    nodes = nodes_per_layer(trained)
    print(laws)
    rows = []
    for point in points:
        decode_s = seconds_of(decode_amounts(point.model, nodes), laws.decode)
        prompt_s = seconds_of(prompt_amounts(point.model, point.prompt_tokens), laws.prompt)
        rows.append(
            Row(
                name=point.name,
                is_predicted=point.shape_name not in names,
                decode_ms=1e3 * point.decode.token_s,
                decode_predicted_ms=1e3 * decode_s,
                decode_noise_fraction=point.decode.noise_fraction,
                prefill_ms=1e3 * point.prefill.token_s,
                prefill_predicted_ms=1e3 * prompt_s / point.prompt_tokens,
                prefill_noise_fraction=point.prefill.noise_fraction,
            )
        )
    return rows


def page(program: str, rows: Sequence[Row]) -> str:
    """Return the table in Markdown, with errors of the predicted rows and the noise of all rows."""
    lines = [
        f"{program}, 1 thread, CPU time.",
        "",
        "| file | decode ms | predicted | error | noise | prefill ms | predicted | error | noise |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        decode = _cells(row.decode_ms, row.decode_predicted_ms, row.decode_noise_fraction)
        prefill = _cells(row.prefill_ms, row.prefill_predicted_ms, row.prefill_noise_fraction)
        name = row.name if row.is_predicted else f"{row.name} (fitted on)"
        lines.append(f"| {name} | {decode} | {prefill} |")
    for phase in ("decode", "prefill"):
        lines += ["", _summary(phase, rows)]
    return "\n".join(lines) + "\n"


def _cells(measured: float, predicted: float, noise: float) -> str:
    return f"{measured:.3f} | {predicted:.3f} | {predicted / measured - 1:+.1%} | {noise:.1%}"


def _summary(phase: str, rows: Sequence[Row]) -> str:
    own = [row for row in rows if row.is_predicted]
    measured = np.array([getattr(row, f"{phase}_ms") for row in own])
    predicted = np.array([getattr(row, f"{phase}_predicted_ms") for row in own])
    noise = np.array([getattr(row, f"{phase}_noise_fraction") for row in rows])
    own_noise = np.array([getattr(row, f"{phase}_noise_fraction") for row in own])
    errors = np.abs(predicted / measured - 1)
    tau = kendalltau(measured, predicted).statistic
    apart = order(predicted, measured, ["here"] * len(own))
    return (
        f"{phase}: {len(own)} files of shapes that were not measured for the laws: median {np.median(errors):.1%}, "
        f"90th percentile {np.percentile(errors, 90):.1%}, worst {errors.max():.1%}, order tau {tau:.2f}, "
        f"pairs over 5 % apart in order {apart:.1%}; odd rounds against even ones: tau "
        f"{repeated_tau(measured, own_noise):.2f}; "
        f"noise of {len(rows)} files: median {np.median(noise):.1%}, 90th percentile {np.percentile(noise, 90):.1%}"
    )


def repeated_tau(measured: np.ndarray, noise: np.ndarray) -> float:
    """Return Kendall's tau between the medians of odd rounds and of even rounds.

    The two medians of a file differ by its noise, in an unknown direction. The result is the mean
    over all combinations of directions.
    """
    found = []
    for signs in itertools.product((-1, 1), repeat=len(measured)):
        halves = np.array(signs) * noise / 2
        found.append(kendalltau(measured * (1 + halves), measured * (1 - halves)).statistic)
    return float(np.mean(found))


if __name__ == "__main__":
    main()
