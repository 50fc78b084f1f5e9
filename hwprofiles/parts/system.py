"""Reading what this computer's system reports of its GPUs, CPU and memory modules. Nothing is
measured.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hwprofiles.units import GIB, KIB, MIB

NVIDIA_SMI = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,pcie.link.gen.max,pcie.link.width.max",
    "--format=csv,noheader,nounits",
)
DMIDECODE = ("dmidecode", "--type", "memory")
TIMEOUT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    """A GPU as its driver names it. Generation and lanes are the most that card and board do
    together, or None where the driver does not say.
    """

    name: str
    memory_bytes: int
    pcie_generation: int | None
    lanes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModules:
    """Memory modules that are alike: their number, the size of each in GiB, their kind and rate in
    MT/s.
    """

    count: int
    gib: int
    type_name: str
    mt_per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSystem:
    """A computer as its system reports it.

    ``cores`` are those of one socket, ``threads`` those of all sockets. ``modules`` is None where
    the modules differ, or where only the administrator may ask for them.
    """

    gpus: tuple[FoundGpu, ...]
    cpu_name: str
    sockets: int
    cores: int
    threads: int
    flags: frozenset[str]
    memory_bytes: int
    modules: FoundModules | None


Run = Callable[[tuple[str, ...]], str]
Read = Callable[[str], str]


def found_system(run: Run | None = None, read: Read | None = None) -> FoundSystem:
    """Return what this computer's system reports.

    ``run`` returns what a command prints ("" where it is missing or fails). ``read`` returns the
    text of a file ("" where it cannot be read).
    """
    ask = run or _run
    text_of = read or _read
    processors = text_of("/proc/cpuinfo")
    # Virtual machines may leave the key out; then there is one.
    sockets = len(set(_values(processors, "physical id"))) or 1
    threads = len(_values(processors, "processor")) or 1
    per_socket = next(iter(_values(processors, "cpu cores")), "")
    return FoundSystem(
        gpus=tuple(_gpus(ask(NVIDIA_SMI))),
        cpu_name=next(iter(_values(processors, "model name")), "unknown CPU"),
        sockets=sockets,
        cores=int(per_socket) if per_socket.isdigit() else max(1, threads // sockets),
        threads=threads,
        flags=frozenset(next(iter(_values(processors, "flags")), "").split()),
        memory_bytes=_memory_bytes(text_of("/proc/meminfo")),
        modules=_modules(ask(DMIDECODE)),
    )


def _gpus(printed: str) -> Iterable[FoundGpu]:
    """Yield the GPUs that nvidia-smi prints, one a line: name, MiB, generation, lanes."""
    for line in printed.splitlines():
        # Lines that do not fit, such as an error message of the driver, are no GPU.
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4 and fields[1].isdigit():
            name, mib, generation, lanes = fields
            yield FoundGpu(
                name=name,
                memory_bytes=int(mib) * MIB,
                pcie_generation=int(generation) if generation.isdigit() else None,
                lanes=int(lanes) if lanes.isdigit() else None,
            )


def _modules(printed: str) -> FoundModules | None:
    """The modules that dmidecode lists, if they are all equal; None where it lists none, or modules
    that differ.
    """
    found = [module for block in printed.split("\n\n") if (module := _module(block))]
    # A line of parts has one kind of module; unlike ones are left to the user to state.
    if not found or len(set(found)) != 1:
        return None
    gib, type_name, speed = found[0]
    return FoundModules(count=len(found), gib=gib, type_name=type_name, mt_per_s=speed)


def _module(block: str) -> tuple[int, str, int] | None:
    """Size in GiB, kind and rate in MT/s of one module; None for an empty slot or a block that is
    no module.
    """
    size = re.search(r"^\s*Size: (\d+) ([GM])i?B", block, re.MULTILINE)
    type_name = re.search(r"^\s*Type: ((?:LP)?DDR\d)\b", block, re.MULTILINE)
    # The configured speed, as boards often run modules slower than they could.
    configured = r"^\s*Configured (?:Memory|Clock) Speed: (\d+)"
    speed = re.search(configured, block, re.MULTILINE) or re.search(
        r"^\s*Speed: (\d+)",
        block,
        re.MULTILINE,
    )
    if size is None or type_name is None or speed is None:
        return None
    num_bytes = int(size[1]) * (GIB if size[2] == "G" else MIB)
    return num_bytes // GIB, type_name[1], int(speed[1])


def _memory_bytes(meminfo: str) -> int:
    total = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(total[1]) * KIB if total else 0


def _values(text: str, key: str) -> list[str]:
    """The values of a key in a file of ``key : value`` lines."""
    return re.findall(rf"^{re.escape(key)}\s*:\s*(.*)$", text, re.MULTILINE)


def _run(command: tuple[str, ...]) -> str:
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        finished = subprocess.run(
            (program, *command[1:]),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout if finished.returncode == 0 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
