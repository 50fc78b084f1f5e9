"""What a command takes at most, in a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass

KIB_PER_MIB = 1024
MEASURED = """
import resource, sys
from rosin.__main__ import main
code = main(sys.argv[1:])
own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(own.ru_maxrss, workers.ru_maxrss, own.ru_utime + own.ru_stime, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most memory of a command and of its largest worker, and its own processor time."""

    own_mib: float
    worker_mib: float
    cpu_s: float


def peak_of(*words: str) -> Peak:
    """Run a command. Raises CalledProcessError where it fails."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *words, "--quiet"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    own, workers, cpu_s = ended.stderr.split()[-3:]
    return Peak(
        own_mib=int(own) / KIB_PER_MIB, worker_mib=int(workers) / KIB_PER_MIB, cpu_s=float(cpu_s)
    )
