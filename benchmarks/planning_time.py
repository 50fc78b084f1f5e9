"""Compare the time of a whole `rosin plan`, start and bounds included, with its aims.

``python benchmarks/planning_time.py`` prints a table of docs/performance.md. Each command runs
after one that compiles. CPU seconds are those of the process and all its threads. Wall-clock
seconds mean something on two quiet cores only.
"""

import resource
import subprocess
import sys
import time

PLANS: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("Mixtral", "mixtral-8x7b", ("--machine", "desktop-rtx-4090-ddr5"), 3.0),
    ("Qwen3-30B", "qwen3-30b-a3b", ("--machine", "desktop-rtx-4090-ddr5"), 6.0),
    (
        "DeepSeek-V3, 4 bit",
        "deepseek-v3",
        ("--machine", "server-12ch-ddr5-rtx-5090", "--quantization", "4bit"),
        20.0,
    ),
    (
        "Qwen3-235B, 4 bit, 2,048 + 512 tokens",
        "qwen3-235b-a22b",
        (
            *("--machine", "server-12ch-ddr5-rtx-5090", "--quantization", "4bit"),
            *("--prompt-tokens", "2048", "--output-tokens", "512"),
        ),
        5.0,
    ),
    (
        "gpt-oss-120b, 8,192 + 1,024 tokens",
        "gpt-oss-120b",
        (
            *("--machine", "desktop-rtx-4090-ddr5"),
            *("--prompt-tokens", "8192", "--output-tokens", "1024"),
        ),
        5.0,
    ),
)
"""Name, model, options, and the aim in wall-clock seconds on two cores (docs/performance.md)."""


def taken_s(model: str, options: tuple[str, ...]) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of one `rosin plan`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rosin", "plan", "--model", model, *options, "--quiet"], check=True
    )
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one row for each plan."""
    taken_s(*PLANS[0][1:3])
    print("| plan | aim s | wall s | CPU s |\n|---|---|---|---|")
    for name, model, options, aim_s in PLANS:
        wall_s, cpu_s = taken_s(model, options)
        print(f"| {name} | {aim_s:.0f} | {wall_s:.1f} | {cpu_s:.1f} |", flush=True)


if __name__ == "__main__":
    main()
