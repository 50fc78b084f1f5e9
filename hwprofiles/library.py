"""Finding and reading machine files: by name from the library, or by path; with overrides."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hwprofiles.errors import InputError, closest, unknown_name
from hwprofiles.machine import Machine
from hwprofiles.overrides import apply_overrides
from hwprofiles.problems import first_problem


def machine_names() -> list[str]:
    """Names of the machines that ship with Rosin, sorted."""
    return sorted(_library())


def load_machine(name_or_path: str, overrides: Sequence[str] = ()) -> Machine:
    """The machine of that name, or from that YAML file, with ``path=value`` overrides applied.

    Raises InputError, one line, for an unknown name, an unreadable file, or a wrong key or value.
    """
    data = read_yaml(_find(name_or_path), "machine")
    parse_machine(data, name_or_path)  # so that an error of the file is not blamed on an override
    return parse_machine(apply_overrides(data, overrides), name_or_path)


def parse_machine(data: Any, where: str) -> Machine:
    """Validate machine data; ``where`` names its origin in errors."""
    try:
        return Machine.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{where}: {first_problem(error, Machine)}") from None


def read_yaml(path: Path, what: str) -> Any:
    """Read one YAML mapping. Raises InputError with the line where the syntax breaks."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise InputError(f"cannot read {what} file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a {what} file is YAML") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: broken YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: a {what} file is a YAML mapping, got {'nothing' if data is None else type(data).__name__}")
    return data


def _find(name_or_path: str) -> Path:
    library = _library()
    if name_or_path in library:
        return library[name_or_path]
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise InputError(f"no machine file {name_or_path}{closest(path.stem, library)}")
        return path
    raise unknown_name("machine", name_or_path, library)


def _library() -> dict[str, Path]:
    folder = Path(str(resources.files("hwprofiles") / "machines"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
