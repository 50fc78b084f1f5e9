"""Reading YAML files of Rosin's own. Any fault is an InputError of one line."""

from pathlib import Path
from typing import Any

import yaml

from hwprofiles.errors import MAX_REASON, InputError, shortened
from hwprofiles.input_file import read_text
from hwprofiles.yaml_tree import TreeBuilder

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read one YAML mapping. Raises InputError, with the line where the syntax breaks."""
    data = parse_yaml(read_text(path, f"{what} file", "YAML"), str(path))
    if not isinstance(data, dict):
        got = "nothing" if data is None else type(data).__name__
        raise InputError(f"{path}: a {what} file is a YAML mapping, got {got}")
    return data


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text, within the limits of ``TreeBuilder``. Raises InputError with
    the line.

    Keys are text, dates stay text, and only the tags of plain YAML are read, so that a file makes
    no objects.
    """
    try:
        return TreeBuilder().build(yaml.parse(text, Loader=SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise InputError(
            f"{where}:{line}: broken YAML: {shortened(str(error.problem), MAX_REASON)} (column {column})"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where}: broken YAML: {shortened(str(error), MAX_REASON)}") from None
