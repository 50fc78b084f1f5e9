"""How much memory this process may still take, by the system's figures and the process's own
limits.
"""

from collections.abc import Iterator
from pathlib import Path

from hwprofiles.units import KIB

ROOT = Path("/")


def free_bytes(root: Path = ROOT) -> int | None:
    """Return the bytes that can be had before something is killed; None where the system says
    nothing.

    The least of three figures counts: what the kernel calls available, what each control group of
    the process has left, and what ``ulimit -v`` leaves. Both versions of cgroups are read. The file
    cache, which is given back, counts as free. ``root`` is where ``proc`` and ``sys`` lie.
    """
    found = [*_available(root), *_left_in_groups(root), *_left_of_limit(root)]
    return max(0, min(found)) if found else None


def _available(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * KIB


def _left_in_groups(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        # Version 2 of cgroups has one line without controllers, version 1 a line for each.
        if not controllers:
            yield from _left(
                root / "sys/fs/cgroup", path, ("memory.max", "memory.current", "inactive_file")
            )
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(root / "sys/fs/cgroup/memory", path, names)


def _left(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Yield the bytes that the group has left, and those that each group above it has left.

    ``names`` are those of the limit, of what is used, and of the file cache. In a container, the
    group's own folder is the mount itself.
    """
    limit_name, used_name, cache_name = names
    group = mount / path.strip("/")
    # No group may use more than any group above it has left.
    for folder in dict.fromkeys((group, *group.parents, mount)):
        if not folder.is_relative_to(mount):
            continue
        limit = _number(folder / limit_name)
        used = _number(folder / used_name)
        if limit is not None and used is not None:
            cached = next(
                (
                    int(line.split()[1])
                    for line in _lines(folder / "memory.stat")
                    if line.split()[0] == cache_name
                ),
                0,
            )
            # The system gives the file cache back before it kills anything.
            yield limit - max(0, used - cached)


def _left_of_limit(root: Path) -> Iterator[int]:
    sizes = {line.split(":")[0]: line for line in _lines(root / "proc/self/status")}
    for line in _lines(root / "proc/self/limits"):
        words = line.removeprefix("Max address space").split()
        if line.startswith("Max address space") and words[0].isdigit() and "VmSize" in sizes:
            yield int(words[0]) - int(sizes["VmSize"].split()[1]) * KIB


def _number(file: Path) -> int | None:
    """Return the number in a file; None for ``max``, and where there is no file."""
    text = " ".join(_lines(file)).strip()
    return int(text) if text.isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
