"""Requests by name or path: what ships with Rosin, a request file, or a trace."""

from importlib import resources
from pathlib import Path

from hwprofiles import InputError, closest, read_yaml, unknown_name, validated
from hwprofiles.input_file import is_there
from sim.workload.requests.spec import RequestsSpec
from sim.workload.requests.trace_file import read_trace
from sim.workload.requests.trace_units import AS_FORMAT, TraceUnits


def request_names() -> list[str]:
    """Names of the request files that ship with Rosin, sorted."""
    return sorted(_library())


def load_requests(name_or_path: str, units: TraceUnits = AS_FORMAT) -> RequestsSpec:
    """The requests of that name, of a request file (``.yaml``), or of a trace (``.jsonl``,
    ``.json``, ``.csv``).

    ``units`` that are stated take the place of a file's. Raises InputError, one line, for an
    unknown name, an unreadable file, an unknown format, or a wrong key or value.
    """
    library = _library()
    path = library.get(name_or_path, Path(name_or_path))
    if path.suffix in {".yaml", ".yml"}:
        return _load_file(path, name_or_path, units)
    if path.suffix or (is_there(path) and not path.is_dir()):
        read_trace(path, units)  # so that what is no trace is said before anything runs
        return RequestsSpec(
            name=path.stem, source=str(path), date="undated", trace=path, trace_units=units
        )
    raise unknown_name("requests", name_or_path, library)


def _load_file(path: Path, where: str, units: TraceUnits) -> RequestsSpec:
    if not is_there(path):
        raise InputError(f"no request file {where}{closest(path.stem, _library())}")
    # A file must name its format; without this the field's default would let it leave that out.
    spec = validated(RequestsSpec, {"format": None, **read_yaml(path, "request")}, where)
    if spec.trace is None:
        if units.stated:
            raise InputError(
                f"{where}: {min(units.stated)} is of a trace, and these requests are none"
            )
        return spec
    # A request file and its trace are moved together, so the path is relative to the file.
    trace = path.parent / spec.trace
    # What is typed goes before what the file says, key by key.
    both = spec.trace_units.model_copy(update=units.model_dump(exclude_none=True))
    read_trace(trace, both)
    return spec.model_copy(update={"trace": trace, "trace_units": both})


def _library() -> dict[str, Path]:
    folder = Path(str(resources.files("sim") / "workload" / "requests" / "workloads"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
