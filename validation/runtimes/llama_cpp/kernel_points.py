"""Run small random files with llama.cpp, interleaved and timed: the points that laws are
fitted to.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from sim.model.importers.gguf import model_from_gguf
from sim.model.model import Model
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP, LlamaArguments
from validation.runtimes.llama_cpp.random_file import set_top_k, write_random_gguf
from validation.runtimes.llama_cpp.sample import Sample, Timed, timed
from validation.runtimes.llama_cpp.session import LlamaSession
from validation.runtimes.llama_cpp.settings import RunLoad, RunSettings
from validation.runtimes.llama_cpp.shapes import Case

OpenSession = Callable[[RunSettings, int], LlamaSession]
"""Function that loads a file; its second argument is the size of the vocabulary in tokens."""

OnStage = Callable[[str, float], None]
"""Function called with the name of the present stage, and the share of it that is done."""


EFFORT = RunLoad(rounds=6)
"""The default number of rounds, with the default tokens of each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPoint:
    """A file, and the times of a decoded token and of a prompt's token."""

    name: str
    shape_name: str
    model: Model
    decode: Timed
    prefill: Timed
    prompt_tokens: int
    num_nodes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All points, and the program and threads with which they were measured."""

    program: str
    threads: int
    points: tuple[KernelPoint, ...]


def measure_points(
    cases: Sequence[Case],
    open_session: OpenSession,
    folder: Path,
    *,
    threads: int = 1,
    effort: RunLoad = EFFORT,
    on_stage: OnStage = lambda stage, share: None,
) -> Measured:
    """Write the files, load all of them, and run each once a round; then remove the files.

    Raises InputError if a format does not fit a shape, or if llama.cpp refuses a file.
    """
    files = [_written(case, folder) for case in cases]
    # Read back from the files, so that work is counted of what is run.
    models = [model_from_gguf(file) for file in files]
    with ExitStack() as stack:
        sessions: list[LlamaSession] = []
        for index, (case, file) in enumerate(zip(cases, files, strict=True)):
            on_stage("files", index / len(cases))
            settings = _settings(file, threads, effort)
            sessions.append(stack.enter_context(closing(open_session(settings, case.shape.vocab))))
        decodes, prefills = _rounds(sessions, effort, on_stage)
        nodes = [session.log.num_nodes for session in sessions]
        program = sessions[0].program
    for file in files:
        file.unlink(missing_ok=True)
    return Measured(
        program=program,
        threads=threads,
        points=tuple(
            KernelPoint(
                name=case.name,
                shape_name=case.shape.name,
                model=model,
                decode=timed(decodes[index]),
                prefill=timed(prefills[index]),
                prompt_tokens=effort.prompt_tokens,
                num_nodes=nodes[index],
            )
            for index, (case, model) in enumerate(zip(cases, models, strict=True))
        ),
    )


def _rounds(
    sessions: Sequence[LlamaSession], effort: RunLoad, on_stage: OnStage
) -> tuple[list[list[Sample]], list[list[Sample]]]:
    """Run every session once a round, in alternating order, after a round that warms up."""
    decodes: list[list[Sample]] = [[] for _ in sessions]
    prefills: list[list[Sample]] = [[] for _ in sessions]
    for session in sessions:
        # The first run of a file reads its pages in.
        session.prefill(effort.output_tokens)
    for index in range(effort.rounds):
        # In turn, so that no file always runs behind the same other one.
        order = range(len(sessions)) if index % 2 else reversed(range(len(sessions)))
        for number in order:
            decodes[number].append(sessions[number].decode(effort.output_tokens))
            prefills[number].append(sessions[number].prefill(effort.prompt_tokens))
        on_stage("rounds", (index + 1) / effort.rounds)
    return decodes, prefills


def _written(case: Case, folder: Path) -> Path:
    """Return the case's file, written if need be.

    A file that differs from another in experts a token alone is a copy of it.
    """
    path = folder / f"{case.name}.gguf"
    for other in range(1, case.shape.num_experts + 1):
        # Weights do not depend on how many experts a token takes, and drawing them is slow.
        same = folder / f"{replace_top_k(case, other).name}.gguf"
        if same != path and same.exists():
            shutil.copyfile(same, path)
            set_top_k(path, case.shape.top_k)
            return path
    return write_random_gguf(case.shape, case.formats, path)


def replace_top_k(case: Case, top_k: int) -> Case:
    """The case with another number of experts a token."""
    return replace(case, shape=replace(case.shape, top_k=top_k))


def _settings(file: Path, threads: int, effort: RunLoad) -> RunSettings:
    arguments = LlamaArguments(runtime=LLAMA_CPP, threads=threads, gpu_layers=0)
    room = max(512, 2 * (effort.prompt_tokens + effort.output_tokens))
    return RunSettings(model_file=file, arguments=arguments, context_tokens=room)
