"""A timeline as a file for trace viewers, in the format that the file's ending names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from hwprofiles import InputError
from hwprofiles.text_file import check_target, whole_file
from sim.engine.timeline import Timeline
from sim.engine.trace_chrome import write_chrome
from sim.engine.trace_perfetto import write_perfetto
from sim.engine.trace_slices import TraceView

_Writer = Callable[[Timeline, IO[bytes], TraceView], None]

FORMATS: Mapping[str, _Writer] = MappingProxyType(
    {".pftrace": write_perfetto, ".perfetto-trace": write_perfetto, ".json": write_chrome}
)
"""Who writes a trace, by the ending of its name."""


def check_trace(path: Path) -> None:
    """Refuse, before any work, a file that cannot be written or whose ending is no format's.

    Raises InputError.
    """
    if path.suffix.lower() not in FORMATS:
        *others, last = FORMATS
        raise InputError(f"{path}: a trace's name must end in {', '.join(others)} or {last}")
    check_target(path)


def write_trace(timeline: Timeline, path: Path | str, view: TraceView = TraceView()) -> None:  # noqa: B008  # frozen
    """Write the timeline to that file, whole or not at all.

    A track for the prefill and the decode steps; a track a resource, on it a slice a task from its
    start to its end (a chunked task that was overtaken at a border spans what overtook it) and a
    mark for each dropped task; counters of the bytes that cross each link, and those of the view.
    Raises InputError where the file cannot be written.
    """
    check_trace(Path(path))
    with whole_file(Path(path)) as file:
        FORMATS[Path(path).suffix.lower()](timeline, file, view)
