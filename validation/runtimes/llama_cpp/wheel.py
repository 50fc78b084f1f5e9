"""Run llama.cpp from the wheel xllamacpp, in a process of its own, on the CPU alone."""

import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from validation.runtimes.llama_cpp.load_log import LoadLog, read_load_log
from validation.runtimes.llama_cpp.sample import Sample
from validation.runtimes.llama_cpp.settings import RunSettings

WHEEL = "xllamacpp"
WORKER = Path(__file__).with_name("wheel_worker.py")
SHORT_PROMPT_TOKENS = 8
"""Tokens of the short prompt before an answer that is timed."""

LOG_LEVEL = 5
"""Verbosity at which llama.cpp logs which tensors were overridden."""

QUIET_LEVEL = 4
"""Verbosity at which llama.cpp logs the sizes of its buffers, and nothing while it runs."""

LOG_PATIENCE_S = 10.0
"""Seconds to wait for the graph in the log; after them the log is read as it is."""


def wheel_version() -> str:
    """Return the wheel's name and version. Raises InputError if it is not installed."""
    try:
        return f"{WHEEL} {version(WHEEL)}"
    except PackageNotFoundError:
        raise InputError(
            f"llama.cpp is run out of {WHEEL}, which is not installed: pip install 'rosin[llama-cpp]', "
            "or name llama-bench with `binary`"
        ) from None


class WheelSession:
    """A process with the file loaded; it stays until the session is closed."""

    def __init__(self, settings: RunSettings, vocab: int, *, is_log_full: bool = False) -> None:
        self._settings = settings
        self._program = wheel_version()
        self._threads = settings.threads
        self._seed = 0
        # A file, since nobody reads along: a pipe would fill up and stop the process.
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._log_path = Path(self._folder.name) / "log.txt"
        self._log_file = self._log_path.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log_file,
            text=True,
        )
        self._ask(_setup(settings, vocab, LOG_LEVEL if is_log_full else QUIET_LEVEL))

    @property
    def program(self) -> str:
        """The wheel and its version."""
        return self._program

    @property
    def log(self) -> LoadLog:
        """The log of llama.cpp while it loaded the file, as soon as that is whole.

        A thread of llama.cpp writes the log. On a busy computer it falls behind the tokens that
        run.
        """
        deadline = time.monotonic() + LOG_PATIENCE_S
        log = read_load_log(self._said())
        # The nodes of the graph are the last thing that is read.
        while log.num_nodes is None and time.monotonic() < deadline:
            time.sleep(0.01)
            log = read_load_log(self._said())
        return log

    def prefill(self, tokens: int) -> Sample:
        """Run a prompt of that many random tokens."""
        found = self._run(tokens, 1)
        return self._sample(tokens, found)

    def decode(self, tokens: int) -> Sample:
        """Run an answer of that many tokens; the time of the short prompt before it is
        subtracted.
        """
        before = self._run(SHORT_PROMPT_TOKENS, 1)
        # The first token comes from the prompt, so one more is asked for.
        found = self._run(SHORT_PROMPT_TOKENS, tokens + 1)
        added = {key: found[key] - before[key] for key in ("cpu_s", "wall_s")}
        return self._sample(tokens, added)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._log_file.close()
        self._folder.cleanup()

    def _sample(self, tokens: int, took: dict[str, Any]) -> Sample:
        return Sample(
            tokens=tokens, cpu_s=took["cpu_s"], wall_s=took["wall_s"], threads=self._threads
        )

    def _run(self, prompt_tokens: int, output_tokens: int) -> dict[str, Any]:
        # Another prompt each time, so that no cached prompt is reused.
        self._seed += 1
        found = self._ask(
            {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "seed": self._seed}
        )
        if found.get("error"):
            raise InputError(f"{self._program}: {found['error'].get('message', found['error'])}")
        return found

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a line and return the answer. Raises InputError if the process ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            raise InputError(
                f"{self._program} ended while running {self._settings.model_file}: {self._last_words()}"
            )
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._said().splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def _said(self) -> str:
        # Opened anew: the process writes on at the position of the file that it was given.
        return self._log_path.read_text(encoding="utf-8", errors="replace")


def _setup(settings: RunSettings, vocab: int, log_level: int) -> dict[str, Any]:
    arguments = settings.arguments
    if settings.devices:
        raise InputError(f"{WHEEL} has no devices beside the CPU; name llama-bench with `binary`")
    return {
        "model_file": str(settings.model_file),
        "vocab": vocab,
        "threads": settings.threads,
        "batch_threads": arguments.batch_threads or settings.threads,
        "parameters": {
            "n_ctx": settings.context_tokens,
            "n_batch": arguments.batch_tokens,
            "n_ubatch": arguments.micro_batch_tokens,
            "n_gpu_layers": settings.gpu_layers,
            "no_extra_bufts": not arguments.is_repacked,
            "no_host": not arguments.is_host_buffer,
            "no_op_offload": not arguments.is_op_offload,
            "verbosity": log_level,
        },
    }
