"""Choose the llama.cpp to run: llama-bench if it is named or found, else the wheel."""

import re
import shutil
import subprocess
from pathlib import Path

from hwprofiles import InputError
from validation.runtimes.llama_cpp.bench import BenchSession
from validation.runtimes.llama_cpp.kernel_points import OpenSession
from validation.runtimes.llama_cpp.session import LlamaSession
from validation.runtimes.llama_cpp.settings import RunSettings
from validation.runtimes.llama_cpp.wheel import WheelSession, wheel_version

BENCH = "llama-bench"


def session_opener(binary: Path | None) -> OpenSession:
    """Return a function that opens sessions. Raises InputError if no llama.cpp is found."""
    found = find_bench(binary)
    if found is not None:
        return lambda settings, vocab: BenchSession(found, settings)
    # Asked now, so that a missing wheel is reported before any file is written.
    wheel_version()
    return _open_wheel


def find_bench(binary: Path | None) -> Path | None:
    """Return the path of llama-bench: the named file, one in the named folder, or one on the search
    path.

    Raises InputError for a name that leads nowhere.
    """
    if binary is None:
        found = shutil.which(BENCH)
        return None if found is None else Path(found)
    path = binary / BENCH if binary.is_dir() else binary
    if not path.is_file():
        raise InputError(f"`binary` {binary}: no {BENCH} there")
    return path


def own_devices(bench: Path) -> tuple[str, ...]:
    """The devices beside the CPU that llama-bench lists, such as CUDA0; none where it cannot."""
    run = subprocess.run(
        [str(bench), "--list-devices"], capture_output=True, text=True, check=False
    )
    return tuple(re.findall(r"^\s+(\w+\d+): ", run.stdout, re.M))


def _open_wheel(settings: RunSettings, vocab: int) -> LlamaSession:
    return WheelSession(settings, vocab)
