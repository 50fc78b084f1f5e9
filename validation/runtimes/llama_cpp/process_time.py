"""CPU time of a running process, by its threads."""

from pathlib import Path

from hwprofiles.units import NS_PER_S

PROC = Path("/proc")


def cpu_s(process_id: int) -> float | None:
    """Seconds that all threads of a process have had the processor; None where the system does not
    say.

    Linux alone says, thread by thread, in nanoseconds (``schedstat``).
    """
    total_ns = 0
    try:
        for thread in (PROC / str(process_id) / "task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return total_ns / NS_PER_S
