"""CPU time of a running process, by its threads."""

from pathlib import Path

from hwprofiles.units import NS_PER_S

PROC = Path("/proc")


def cpu_s(process_id: int) -> float | None:
    """Return the seconds that all threads of a process have had the processor.

    Only Linux tells them, thread by thread, in nanoseconds (``schedstat``). Return None if the
    system does not tell them.
    """
    total_ns = 0
    try:
        for thread in (PROC / str(process_id) / "task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return total_ns / NS_PER_S
