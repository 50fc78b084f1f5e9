"""Writing files that are there whole or not at all."""

import os
from pathlib import Path
from typing import Any

import yaml

from hwprofiles.errors import InputError


def write_text(text: str, path: Path) -> None:
    """Write a text file in UTF-8, as ``write_bytes`` does."""
    write_bytes(text.encode(), path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file: whole or not at all, through links, with the rights that the user's umask gives.

    Missing folders above it are not made. Raises InputError when it cannot be written.
    """
    target = path.resolve()
    try:
        if target.exists() and not target.is_file():  # a pipe or a device is written to, never replaced
            target.write_bytes(data)
            return
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def write_yaml(data: Any, path: Path) -> None:
    """Write data as YAML, as ``write_text`` does: keys in their order, lists without mappings on one line."""
    write_text(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True), path)


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values in one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Flow style for lists without mappings or lists in them."""
        is_plain = not any(isinstance(item, dict | list | tuple) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=is_plain)

    def ignore_aliases(self, data: Any) -> bool:
        """Anchors are never used: equal parts are written out."""
        return True
