"""Writing files whole or not at all. Rosin writes files nowhere else."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from hwprofiles.errors import InputError

YAML_ENDINGS = (".yaml", ".yml")
MAX_STEM_BYTES = 200
"""The most bytes of a target's name in the name of its temporary file; file systems take names of
255 bytes.
"""


def write_text(text: str, path: Path) -> None:
    """Write a text file in UTF-8, as ``whole_file`` does."""
    write_bytes(text.encode(), path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file, as ``whole_file`` does."""
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write it whole or not at all, through links, with the rights that the user's
    umask gives.

    The bytes go to a temporary file beside the target, which takes the target's place at the end.
    An error before the end leaves the target as it was. Temporary files of this target that killed
    writers left are removed. A pipe or a device is written to directly. Missing folders are not
    made. Raises InputError where the file cannot be written.
    """
    check_target(path)
    # Through links: to replace a link itself would leave its target as it was.
    target = path.resolve()
    try:
        if (
            target.exists() and not target.is_file()
        ):  # a pipe or a device is written to, never replaced
            with target.open("wb") as file:
                yield file
            return
        # Here, where the folder is known: nobody else ever looks at what killed writers left.
        _sweep(target)
        with _replacing(target) as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    # Beside the target, as os.replace is atomic only within a file system; by process, so that it is
    # known who left it; and by chance, as writers in two containers may have one number.
    temporary = target.with_name(f".{_stem(target)}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _stem(target: Path) -> str:
    """The target's name, cut to MAX_STEM_BYTES. The temporary file's name is longer and must be
    valid too.
    """
    return os.fsencode(target.name)[:MAX_STEM_BYTES].decode(errors="ignore")


def check_target(path: Path) -> None:
    """Refuse, before any work, a file that could not be written. Raises InputError."""
    try:
        problem = _problem_of(path, path.resolve())
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a name that is too long, a link that leads to itself
        problem = getattr(error, "strerror", None) or str(error)
    if problem is not None:
        raise InputError(f"cannot write {path}: {problem}")


def _problem_of(path: Path, target: Path) -> str | None:
    if target.is_dir():
        return "it is a folder"
    if not target.parent.is_dir():
        return f"no folder {path.parent}"
    if target.exists():
        target.stat()
        if not os.access(target, os.W_OK):
            return "it may not be written"
        if not target.is_file():
            return None
    return (
        None
        if os.access(target.parent, os.W_OK | os.X_OK)
        else f"the folder {path.parent} may not be written"
    )


def check_yaml_target(path: Path, what: str) -> None:
    """Refuse, before any work, a YAML file that could not be written, or whose name does not end as
    YAML's do.

    ``what`` names the file in the message, such as "a plan file". Raises InputError.
    """
    if path.suffix.lower() not in YAML_ENDINGS:
        raise InputError(f"-o {path}: {what}'s name must end in .yaml")
    check_target(path)


def check_folder(path: Path) -> None:
    """Refuse, before any work, a folder that could not be made or written to. Raises InputError."""
    existing = path.resolve()
    # Folders that are missing will be made below the nearest that is there, which must allow it.
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"cannot write to {path}: {existing} is no folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {path}: the folder {existing} may not be written")


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing. Raises InputError."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}") from None


def _sweep(target: Path) -> None:
    """Remove the temporary files of this target whose writers do not run any more."""
    pattern = re.compile(rf"\.{re.escape(_stem(target))}\.(\d+)(?:-[0-9a-f]+)?\.part")
    for entry in os.scandir(target.parent):
        match = pattern.fullmatch(entry.name)
        if match and not _is_running(int(match[1])):
            with suppress(OSError):
                os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        # Signal 0 sends nothing; it only asks whether the process is there.
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, as another user's
        return True
    return True


def write_yaml(data: Any, path: Path) -> None:
    """Write data as YAML, as ``whole_file`` does: keys in their order, lists without mappings on
    one line.
    """
    write_text(yaml_text(data), path)


def yaml_text(data: Any) -> str:
    """Return data as the YAML that ``write_yaml`` writes."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values in one line."""

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        """Write lists without mappings or lists in them in flow style."""
        is_plain = not any(isinstance(item, dict | list | tuple) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=is_plain)

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: equal parts are written out, never as anchors."""
        return True
