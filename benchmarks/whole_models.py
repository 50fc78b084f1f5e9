"""Compare decoding of whole models on one GPU with published speeds.

    python -m benchmarks.whole_models

The rows of benchmarks/whole_models.csv state no CPU, because such runs hardly use it. No constant
is fitted to the rows. The prior of server_card_factor in sim/runtimes/constants.yaml rests on the
rows of the cards that it concerns.
"""

import csv
from pathlib import Path

from hwprofiles import load_machine
from sim.runtimes import RuntimeQuestion, predict, read_runtime_arguments, runtime_host
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP
from sim.runtimes.model_files import load_model_for
from sim.runtimes.predict import Speed

ROWS = Path(__file__).with_suffix(".csv")
ANY_CPU = "Ryzen 9 7950X + 2x32GB DDR5-4800"
SHORT_CONTEXT_TOKENS = 500
"""Context of a chat of one question, for rows that state none."""


def decoded(row: dict[str, str]) -> Speed:
    """Return the decode speed predicted for a row."""
    model = load_model_for(LLAMA_CPP, row["model"], row["quantization"]).model
    question = RuntimeQuestion(
        runtime=LLAMA_CPP,
        arguments=read_runtime_arguments(LLAMA_CPP, "-ngl 99 -fa 1"),
        model=model,
        quantization=row["quantization"],
        host=runtime_host(load_machine(f"{row['gpu']} + {ANY_CPU}")),
        context_tokens=int(row["context_tokens"] or SHORT_CONTEXT_TOKENS),
    )
    return predict(question).decode


def main() -> None:
    """Print a line of a table for each row."""
    print("| card | model | measured, tokens/s | predicted | error |")
    print("|---|---|---:|---:|---:|")
    with ROWS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            speed = decoded(row)
            measured = float(row["decode_tokens_per_s"])
            ends = f"{speed.low_tokens_per_s:.0f}–{speed.high_tokens_per_s:.0f}"
            error = f"{speed.tokens_per_s / measured - 1:+.0%}"
            cells = [row["gpu"], f"{row['model']} {row['quantization']}", f"{measured:.0f}"]
            print(f"| {' | '.join(cells)} | {speed.tokens_per_s:.0f} ({ends}) | {error} |")


if __name__ == "__main__":
    main()
