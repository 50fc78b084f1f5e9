"""Finding and reading machine files: by name from the library, or by path; with overrides."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwprofiles.errors import MAX_PATH, InputError, closest, shortened, unknown_name
from hwprofiles.input_file import is_there
from hwprofiles.machine import Machine
from hwprofiles.overrides import apply_overrides
from hwprofiles.problems import first_problem
from hwprofiles.yaml_file import read_yaml


def machine_names() -> list[str]:
    """Names of the machines that ship with Rosin, sorted."""
    return sorted(_library())


def load_machine(name_or_path: str, overrides: Sequence[str] = ()) -> Machine:
    """The machine of that name, or from that YAML file, with ``path=value`` overrides applied.

    Raises InputError, one line, for an unknown name, an unreadable file, or a wrong key or value.
    """
    data = read_yaml(_find(name_or_path), "machine")
    machine = parse_machine(data, name_or_path)  # before any override, which must not be blamed for an error of the file
    if not overrides:
        return machine
    where = f"{name_or_path} with {' '.join(f'--set {override}' for override in overrides)}"
    return parse_machine(apply_overrides(data, overrides), where)


def parse_machine(data: Any, where: str) -> Machine:
    """Validate machine data; ``where`` names its origin in errors."""
    try:
        return Machine.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{where}: {first_problem(error, Machine)}") from None


def _find(name_or_path: str) -> Path:
    library = _library()
    if name_or_path in library:
        return library[name_or_path]
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or (is_there(path) and not path.is_dir()):
        if not is_there(path):
            raise InputError(f"no machine file {shortened(name_or_path, MAX_PATH)}{closest(path.stem, library)}")
        return path
    raise unknown_name("machine", name_or_path, library)


def _library() -> dict[str, Path]:
    folder = Path(str(resources.files("hwprofiles") / "machines"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
