"""Find and read the tables of NVIDIA's aiconfigurator-core (Apache-2.0).

A wheel, or the folder that it unpacks to, has
``systems/data/<system>/<kind>/<framework>/<version>/<name>.parquet``; latencies are in ms.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hwprofiles import InputError
from hwprofiles.errors import closest
from hwprofiles.input_file import is_there, read_text

# Only reading a table needs pandas, which takes long to import.
if TYPE_CHECKING:
    import pandas as pd

LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlace:
    """The place of one table: a file, or a member of a wheel."""

    system: str
    framework: str
    file: Path
    member: str | None = None


def table_places(path: Path, kind: str, name: str, system: str) -> list[TablePlace]:
    """Return the tables of that kind and name of a system, in the order of their paths.

    Raises InputError for a path without such tables, and for an unknown system.
    """
    found = list(_places(path, kind, name))
    systems = sorted({place.system for place in found})
    if system not in systems:
        known = f"; it has {', '.join(systems)}" if systems else f"; it has no {name}.parquet"
        raise InputError(f"{path}: no system {system!r}{closest(system, systems)}{known}")
    return [place for place in found if place.system == system]


def _places(path: Path, kind: str, name: str) -> Iterator[TablePlace]:
    pattern = re.compile(rf"(?:^|/)systems/data/([^/]+)/{kind}/([^/]+)/([^/]+)/{name}\.parquet$")
    if path.is_dir():
        # Sorted, so that a tie between frameworks does not depend on the file system.
        for file in sorted(path.rglob(f"{name}.parquet")):
            match = pattern.search(file.as_posix())
            if match:
                yield TablePlace(system=match[1], framework=f"{match[2]} {match[3]}", file=file)
        return
    try:
        with zipfile.ZipFile(path) as wheel:
            for member in sorted(wheel.namelist()):
                match = pattern.search(member)
                if match:
                    framework = f"{match[2]} {match[3]}"
                    yield TablePlace(system=match[1], framework=framework, file=path, member=member)
    except (OSError, zipfile.BadZipFile) as problem:
        raise InputError(f"{path}: no folder and no wheel: {problem}") from None


def read_table(place: TablePlace, path: Path, columns: Sequence[str]) -> "pd.DataFrame":
    """Read a table.

    Raises InputError, naming ``path``, if the table cannot be read or lacks a column, or if pyarrow
    is not installed.
    """
    import pandas as pd

    # The message of pandas names two libraries that would do; one is enough to ask for.
    if find_spec("pyarrow") is None:
        raise InputError(f"{path}: reading its tables needs pyarrow: pip install pyarrow")
    where = place.member or str(place.file)
    try:
        if place.member is None:
            table = pd.read_parquet(place.file)
        else:
            with zipfile.ZipFile(place.file) as wheel:
                table = pd.read_parquet(io.BytesIO(wheel.read(place.member)))
    except (OSError, ValueError, zipfile.BadZipFile) as problem:
        raise InputError(
            f"{path}: {where}: no table of Parquet: {str(problem).splitlines()[0]}"
        ) from None
    missing = sorted({*columns, "latency"} - set(table.columns))
    if missing:
        raise InputError(f"{path}: {where} lacks the columns {', '.join(missing)}")
    return table


def version_of(path: Path) -> str:
    """Return the version of aiconfigurator-core with a space before it, or an empty string.

    The version stands in the sources, in the name of a wheel, or in that of the folder beside the
    package.
    """
    sources = path / "pyproject.toml"
    if path.is_dir() and is_there(sources):
        stated = re.search(r'(?m)^version = "([\w.]+)"', read_text(sources, "project file", "TOML"))
        return f" {stated[1]}" if stated else ""
    names = [path.name, *(found.name for found in path.glob("*.dist-info"))]
    match = next(
        filter(None, (re.search(r"core-(\d[\w.]*?)(?:-|\.dist)", one) for one in names)), None
    )
    return f" {match[1]}" if match else ""
