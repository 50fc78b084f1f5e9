"""`rosin validate --runtime`: a plan that is run by its runtime."""

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rosin.cli.output import Output
from rosin.commands.validate.run_options import RunOptions, RuntimeRun

if TYPE_CHECKING:
    from validation.runtimes.llama_cpp import PlanQuestion, PlanRun

RUNTIMES = ("llama.cpp",)
HISTORY = "history.csv"


def validate_runtime(
    plan: Path, runs: RunOptions, asked: RuntimeRun, folder: Path | None, output: Output
) -> None:
    """Run the plan and its rivals, and print measured beside predicted speeds.

    Raises InputError for wrong input.
    """
    from hwprofiles import load_machine, unknown_name
    from rosin.cli.json_output import write_json
    from rosin.commands.validate.runtime_document import runtime_validate_result
    from rosin.commands.validate.runtime_page import runtime_validate_page
    from sim.runtimes import runtime_host
    from validation.runtimes.llama_cpp import RunLoad, model_file, read_question, run_plan

    assert asked.runtime is not None
    if asked.runtime not in RUNTIMES:
        raise unknown_name("runtime that can be run", asked.runtime, RUNTIMES)
    question = read_question(plan, asked.runtime, asked.runtime_args)
    arguments = question.arguments
    machine = load_machine(question.machine, question.machine_overrides)
    load = RunLoad(rounds=runs.num_rounds)
    with tempfile.TemporaryDirectory(prefix="rosin-") as made:
        file = model_file(question, asked.model_file, Path(made), output.seed)
        with output.waiting(f"running {asked.runtime}") as waiting:
            ran = run_plan(
                file,
                arguments,
                runtime_host(machine),
                asked.binary,
                load,
                on_run=lambda name: waiting.step(f"ran {name}; going on"),
            )
        # Before the folder is gone: the small file's header is copied out of it.
        kept = asked.model_file
        history = None if folder is None else _remember(folder, kept, question, ran, file)
    result = runtime_validate_result(
        ran,
        runtime=asked.runtime,
        machine=machine.name,
        model_file=str(asked.model_file or "a small file with random weights"),
        arguments=question.line,
        prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens,
        rounds=load.rounds,
        history=None if history is None else str(history),
    )
    document = result.model_dump(mode="json")
    if folder is not None:
        write_json(document, str(folder / "validate.json"))
    output.emit(document, runtime_validate_page(result), warnings=warnings_of(ran))


MOST_NOISE_FRACTION = 0.12
"""The most that the two halves of a run's samples may differ before speeds mean little.

Runs of the other backends are held to the same fraction.
"""


def warnings_of(ran: "PlanRun") -> list[str]:
    """Return the warnings about where the plan ran, and about the noise there."""
    found = [*_where_it_ran(ran)]
    timings = [timed for option in ran.options for timed in (option.decode, option.prefill)]
    noise = max(timed.noise_fraction for timed in timings)
    if noise > MOST_NOISE_FRACTION:
        found.append(
            f"this computer was noisy: the two halves of one run differ by {noise:.0%}, so these "
            "speeds say little; close other programs and run it again, with more --rounds"
        )
    return found


def _where_it_ran(ran: "PlanRun") -> Iterator[str]:
    from validation.runtimes.llama_cpp.plan_run import CPU, LOOPBACK

    if ran.device == CPU:
        yield "everything ran on the CPU: the placement on GPUs was not run, and is predicted without them"
    if ran.device == LOOPBACK:
        yield (
            "processes of this CPU stood for the GPUs: what runs there is no GPU's speed, and is predicted "
            "as such only where the machine file has laws of the runtime (rosin measure --runtime)"
        )
    cores = os.cpu_count() or 1
    threads = ran.plan.arguments.threads or 1
    if threads > cores:
        yield (
            f"{threads} threads shared the {cores} cores of this computer, where they wait for each "
            f"other: --runtime-args with -t {cores} runs what this computer can"
        )


def _remember(
    folder: Path, own: Path | None, question: "PlanQuestion", ran: "PlanRun", file: Path
) -> Path | None:
    """Add a row for each set of arguments to the history in the folder, and return its path.

    ``own`` is the model file that the user named. For a small random file, a copy of its header is
    kept in the folder. Returns None for a run on a loopback device, which no machine has.
    """
    from hwprofiles.text_file import make_folder
    from validation.runtimes.history import append_rows
    from validation.runtimes.llama_cpp import history_rows

    make_folder(folder)
    # Times in UTC have the same order wherever the runs were made.
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    kept = own or _kept_header(file, folder, now)
    rows = history_rows(ran, machine=question.machine, file=kept, stamp=now, line=question.line)
    if not rows:
        return None
    path = folder / HISTORY
    append_rows(path, rows)
    return path


def _kept_header(file: Path, folder: Path, stamp: str) -> Path:
    """Return a sparse copy of a model file: equal size and header, but a hole for the weights."""
    from validation.runtimes.llama_cpp import copy_sparse

    return copy_sparse(file, folder / f"{file.stem}-{stamp}.gguf")
