"""Run llama.cpp by its program llama-bench, a process for each run.

Times are read from its JSON lines, and CPU time is taken at its progress lines.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from validation.runtimes.llama_cpp.load_log import LoadLog, read_load_log
from validation.runtimes.llama_cpp.process_time import cpu_s
from validation.runtimes.llama_cpp.sample import Sample
from validation.runtimes.llama_cpp.settings import RunSettings

NUM_RUNS = 3
"""Runs of one call. The last run is not counted, because nothing marks its end."""

RUN_WORDS = ("prompt run", "generation run")
"""Words of a progress line at the beginning of a timed run."""


class BenchSession:
    """Runs llama-bench anew for every sample.

    ``servers`` are processes whose CPU time counts, too. Raises InputError with llama-bench's last
    words if llama-bench fails.
    """

    def __init__(
        self,
        binary: Path,
        settings: RunSettings,
        overrides: Sequence[str] = (),
        rpc: Sequence[str] = (),
        servers: Sequence[int] = (),
    ) -> None:
        self._binary = binary
        self._settings = settings
        self._arguments = bench_arguments(settings, overrides, rpc)
        self._servers = tuple(servers)
        # Servers that stand for GPUs are processes of this computer, whose CPU time is known.
        self._has_gpu = bool(settings.devices) and not servers
        self._found: dict[str, Any] | None = None
        self._log: LoadLog | None = None

    @property
    def program(self) -> str:
        """llama-bench with its build and backends."""
        found = self._found or self._run(0, 1).found
        return f"llama-bench {found['build_commit']} ({found['build_number']}), {found['backends']}"

    @property
    def model_file(self) -> Path:
        """The GGUF file that the session runs."""
        return self._settings.model_file

    @property
    def log(self) -> LoadLog:
        """The log of llama-bench while it loads the file."""
        if self._log is None:
            self._log = read_load_log(self._run(0, 1, is_verbose=True).log)
        return self._log

    def prefill(self, tokens: int) -> Sample:
        """Run a prompt of that many random tokens."""
        return self._run(tokens, 0).sample(tokens, self._settings.threads, self._has_gpu)

    def decode(self, tokens: int) -> Sample:
        """Run an answer of that many random tokens."""
        return self._run(0, tokens).sample(tokens, self._settings.threads, self._has_gpu)

    def close(self) -> None:
        """Do nothing: no process stays between runs."""

    def _run(self, prompt_tokens: int, output_tokens: int, *, is_verbose: bool = False) -> "_Run":
        command = [
            str(self._binary),
            *self._arguments,
            *("-p", str(prompt_tokens), "-n", str(output_tokens), "-r", str(NUM_RUNS)),
            *("-o", "jsonl", "--progress"),
            *(("-v",) if is_verbose else ()),
        ]
        run = _followed(command, self._servers)
        self._found = run.found
        return run


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of llama-bench: its JSON line, its log, and CPU seconds at the start of each run."""

    found: dict[str, Any]
    log: str
    marks_s: tuple[float | None, ...]

    def sample(self, tokens: int, threads: int, has_gpu: bool) -> Sample:
        """Return all runs but the last, whose end has no mark, as one sample.

        If the system tells no CPU time, the time is the clock's.
        """
        first = self.marks_s[0]
        last = self.marks_s[-1]
        # A mark tells when a run begins, so the last run has no end.
        walls_s = [ns / NS_PER_S for ns in self.found["samples_ns"]][: len(self.marks_s) - 1]
        wall_s = sum(walls_s)
        known = first is not None and last is not None
        own_s = last - first if known else wall_s * threads  # type: ignore[operator]
        return Sample(
            tokens=tokens * len(walls_s),
            cpu_s=own_s,
            wall_s=wall_s,
            threads=threads,
            has_gpu=has_gpu,
        )


def _followed(command: Sequence[str], servers: Sequence[int]) -> _Run:
    """Run the command, and take CPU times at the progress lines of new runs.

    Raises InputError if the command fails.
    """
    # Results go to a file: of two pipes, the one not being read could fill up and stop the run.
    with tempfile.TemporaryFile("w+") as results:
        process = subprocess.Popen(command, stdout=results, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines: list[str] = []
        marks: list[float | None] = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("llama-bench: benchmark") and any(
                word in line for word in RUN_WORDS
            ):
                marks.append(_total_cpu_s((process.pid, *servers)))
        process.stderr.close()
        code = process.wait()
        results.seek(0)
        text = results.read()
    if code != 0 or not text.strip():
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise InputError(f"{command[0]} ended with {code}: {said}")
    return _Run(json.loads(text.splitlines()[-1]), "".join(lines), tuple(marks))


def _total_cpu_s(processes: Sequence[int]) -> float | None:
    found = [cpu_s(process) for process in processes]
    known = [seconds for seconds in found if seconds is not None]
    # A time without one of the processes would be too short without a word.
    return sum(known) if len(known) == len(found) else None


def bench_arguments(
    settings: RunSettings, overrides: Sequence[str], rpc: Sequence[str]
) -> list[str]:
    """Return the arguments of llama-bench.

    llama-bench separates overrides by a semicolon, and states switches as 0 and 1.
    """
    own = settings.arguments
    found = ["-m", str(settings.model_file), "-t", str(settings.threads)]
    found += ["-ngl", str(settings.gpu_layers), *_batch(own)]
    # Weights are read into memory instead of mapped, so that no timed run waits for the disk.
    found += ["-ctk", own.key_type, "-ctv", own.value_type, "-lm", "none"]
    if own.is_flash_attention is not None:
        found += ["-fa", str(int(own.is_flash_attention))]
    if not own.is_op_offload:
        found += ["-nopo", "1"]
    if not own.is_host_buffer:
        found += ["--no-host", "1"]
    if not own.is_repacked:
        found += ["--repack", "0"]
    if not own.is_kv_offloaded:
        found += ["-nkvo", "1"]
    if own.tensor_split:
        found += ["-ts", "/".join(f"{share:g}" for share in own.tensor_split)]
    if overrides:
        found += ["-ot", ";".join(overrides)]
    if rpc:
        found += ["-rpc", ",".join(rpc)]
    return found


def _batch(own: LlamaArguments) -> list[str]:
    return ["-b", str(own.batch_tokens), "-ub", str(own.micro_batch_tokens)]
