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
"""The function that writes a trace, by the ending of the file's name."""


def check_trace(path: Path) -> None:
    """Check, before any work, that a trace can be written to a file.

    Raises InputError if the file cannot be written or its ending names no format.
    """
    if path.suffix.lower() not in FORMATS:
        *others, last = FORMATS
        raise InputError(f"{path}: a trace's name must end in {', '.join(others)} or {last}")
    check_target(path)


def write_trace(timeline: Timeline, path: Path | str, view: TraceView = TraceView()) -> None:  # noqa: B008  # frozen
    """Write the timeline to that file, whole or not at all.

    One track shows the prefill and the decode steps. Each resource has a track with one slice for
    each task, from its start to its end. The slice of a chunked task spans any tasks that overtook
    it at a border. A dropped task is a mark. Counters show the bytes that cross each link, and
    those of the view. Raises InputError if the file cannot be written.
    """
    check_trace(Path(path))
    with whole_file(Path(path)) as file:
        FORMATS[Path(path).suffix.lower()](timeline, file, view)
