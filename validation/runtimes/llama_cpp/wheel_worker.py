"""Run llama.cpp from the wheel xllamacpp, as the program of a process of its own.

The process reads one JSON object a line, first the set-up and then runs, and answers each with one
line. The process imports nothing of Rosin, so that its CPU time is llama.cpp's.
"""

import json
import os
import random
import sys
import time
from typing import Any, TextIO

SAMPLING = {"temperature": 2.0, "top_k": 40, "top_p": 1.0, "min_p": 0.0}
"""Parameters of sampling that draw answers widely from random weights.

A greedy answer would repeat one token, and its experts.
"""


def main() -> None:
    """Serve the lines of standard input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints goes to the log
    setup = json.loads(sys.stdin.readline())
    server = _server(setup)
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        _answer(answers, _run(server, json.loads(line), setup["vocab"]))


def _server(setup: dict[str, Any]) -> Any:
    # Imported here, after output has been sent to the log.
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = setup["model_file"]
    parameters.fit_params = False
    # One sequence has the whole context; several would share it.
    parameters.n_parallel = 1
    parameters.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    # Kept prompts would make later runs shorter.
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.cpuparams.n_threads = setup["threads"]
    parameters.cpuparams_batch.n_threads = setup["batch_threads"]
    for name, value in setup["parameters"].items():
        setattr(parameters, name, value)
    return xllamacpp.Server(parameters)


def _run(server: Any, asked: dict[str, Any], vocab: int) -> dict[str, Any]:
    """Run a prompt of random tokens and an answer, and return the time of both together."""
    draw = random.Random(asked["seed"])
    request = {
        # The first three tokens are special ones.
        "prompt": [draw.randrange(3, vocab) for _ in range(asked["prompt_tokens"])],
        "n_predict": asked["output_tokens"],
        "seed": asked["seed"],
        "ignore_eos": True,
        "cache_prompt": False,
        **SAMPLING,
    }
    cpu_s = time.process_time()
    wall_s = time.perf_counter()
    found = server.handle_completions(request)
    took = {
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.perf_counter() - wall_s,
    }
    found = json.loads(found) if isinstance(found, str | bytes) else found
    return took | {"timings": found.get("timings", {}), "error": found.get("error")}


def _answer(answers: TextIO, found: dict[str, Any]) -> None:
    answers.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
