"""Measure how long the page of `rosin serve` takes to appear, and to follow a move of a control.

    python benchmarks/page_speed.py

For each model, the page is asked for 20 sizes of GPU memory that were not asked for before. Times
are those of the server, as a browser on the same computer sees them.
"""

import statistics
import time

from starlette.testclient import TestClient

from rosin.web.app import build_app
from rosin.web.question import EXAMPLE_PC, Offered

MODELS = (
    ("mixtral-8x7b", "Q4_K_M"),
    ("qwen3-30b-a3b", "Q4_K_M"),
    ("gpt-oss-120b", "MXFP4"),
    ("qwen3-235b-a22b", "Q2_K"),
)
NUM_MOVES = 20
MS_PER_S = 1_000


def main() -> None:
    """Print the times as a table in Markdown."""
    with TestClient(build_app(Offered()), base_url="http://127.0.0.1:8765") as client:
        first_ms = _milliseconds(client, "/", {})[0]
        print(f"first paint: {first_ms:.0f} ms\n")
        print("| model | a move, median | slowest | CPU, median |")
        print("|---|---|---|---|")
        for model, quantization in MODELS:
            asked = {"machine": EXAMPLE_PC, "model": model, "quantization": quantization}
            _milliseconds(client, "/answer", asked)  # the model's tables are read once
            moves = [
                _milliseconds(client, "/answer", asked | {"vram_gib": f"{8.5 + move / 2:g}"})
                for move in range(NUM_MOVES)
            ]
            waited = [wall for wall, _ in moves]
            worked = statistics.median(cpu for _, cpu in moves)
            middle = statistics.median(waited)
            print(f"| {model} | {middle:.0f} ms | {max(waited):.0f} ms | {worked:.0f} ms |")


def _milliseconds(client: TestClient, path: str, asked: dict[str, str]) -> tuple[float, float]:
    """Return wall-clock and CPU time of one request, in ms."""
    before = time.perf_counter(), time.process_time()
    client.get(path, params=asked).raise_for_status()
    wall = time.perf_counter() - before[0]
    return MS_PER_S * wall, MS_PER_S * (time.process_time() - before[1])


if __name__ == "__main__":
    main()
