"""Finding machines: by name from the library, by the path of a file, or by a line of parts; with
overrides.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from hwprofiles.errors import MAX_PATH, InputError, closest, shortened, unknown_name
from hwprofiles.input_file import is_there
from hwprofiles.machine import Machine
from hwprofiles.overrides import apply_overrides
from hwprofiles.plausibility import far_from_own
from hwprofiles.problems import validated
from hwprofiles.sockets import over_sockets, sockets_in
from hwprofiles.yaml_file import read_yaml


def machine_names() -> list[str]:
    """Names of the machines that ship with Rosin, sorted."""
    return sorted(_library())


def load_machine(name: str, overrides: Sequence[str] = ()) -> Machine:
    """Return the machine that ``name`` means, with ``path=value`` overrides applied.

    ``name`` is a machine of the library, the path of a YAML file, or a line of parts. Raises
    InputError, one line, for an unknown name, an unreadable file, a part that is not understood, or
    a wrong key or value.
    """
    path = _path(name)
    if path is None:
        machine = _of_parts(name)
        data = machine_data(machine) if overrides else {}
    else:
        data = read_yaml(path, "machine")
        # Before any override, which must not be blamed for an error of the file.
        stated = parse_machine(
            data,
            name,
        )
        machine = over_sockets(stated)
        # Overrides go over what was derived too, so that a share that the user sets is not derived
        # again.
        data = data if machine is stated else machine_data(machine)
    if not overrides:
        return machine
    where = f"{name} with {' '.join(f'`overrides` {override}' for override in overrides)}"
    changed = parse_machine(apply_overrides(data, overrides), where)
    slips = tuple(far_from_own(machine, changed, overrides))
    return changed.model_copy(update={"assumptions": (*changed.assumptions, *slips)})


def names_machine_file(name: str) -> bool:
    """Whether a name is the path of a machine file, which may be missing.

    The name of a machine that ships is no path, and neither is a line of parts.
    """
    if name in _library():
        return False
    path = Path(name)
    return path.suffix in {".yaml", ".yml"} or (is_there(path) and not path.is_dir())


def machine_data(machine: Machine) -> dict[str, Any]:
    """Return a machine as the plain data of a file, without values that equal their default."""
    data = machine.model_dump(mode="json", exclude_defaults=True)
    # Left out, one socket would be read as the several that the name counts.
    if machine.cpu.sockets != sockets_in(machine.cpu.name):
        data["cpu"]["sockets"] = machine.cpu.sockets
    return data


def parse_machine(data: Any, where: str) -> Machine:
    """Validate machine data; ``where`` names its origin in errors."""
    return validated(Machine, data, where)


def _path(name: str) -> Path | None:
    """Return the file of the machine; None where ``name`` names neither a machine that ships nor a
    file. Raises InputError for a YAML file that is not there.
    """
    library = _library()
    if name in library:
        return library[name]
    path = Path(name)
    # A folder of a machine's or a part's name in the working folder must not hide it.
    if is_there(path) and not path.is_dir():
        return path
    if path.suffix in {".yaml", ".yml"}:
        raise InputError(
            f"no machine file {shortened(name, MAX_PATH)}{closest(path.stem, library)}"
        )
    return None


def _of_parts(name: str) -> Machine:
    """Return the machine of a line of parts. Raises InputError; one word that is no part is taken
    for the misspelt name of a machine.
    """
    # Imported here: the library of parts is read only where a line of parts is given.
    from hwprofiles.parts import is_one_part, machine_of_line, nearest_part

    if is_one_part(name) or len(name.split()) > 1 or "+" in name:
        return machine_of_line(name)
    error = unknown_name("machine", name, _library())
    near = nearest_part(name)
    # A machine's name that is near goes before a part's: one word is usually a machine.
    if near is None or "did you mean" in str(error):
        raise error
    raise InputError(f"no machine or part named {name!r}; did you mean the part {near!r}?")


def _library() -> dict[str, Path]:
    folder = Path(str(resources.files("hwprofiles") / "machines"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
