"""The header of a GGUF file: metadata and tensor table, over all parts of a split file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwprofiles import InputError

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One row of the tensor table; ``shape`` is in GGUF order, the contiguous dimension first."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    num_weights: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Metadata and tensors; ``where`` names the file in errors."""

    where: str
    fields: Mapping[str, Any]
    tensors: tuple[Tensor, ...]


def read_header(path: Path) -> GgufHeader:
    """The header of the file, tensor data unread; of a split file, which all its parts must stand beside, the whole table.

    Raises InputError for a file that is not GGUF, or whose tensors reach beyond its end.
    """
    fields, tensors = _read_part(path)
    num_parts = fields.get("split.count", 0)
    if isinstance(num_parts, int) and num_parts > 1:
        fields, tensors = _read_parts(path, num_parts)
    return GgufHeader(where=str(path), fields=fields, tensors=tuple(tensors))


def _read_parts(path: Path, num_parts: int) -> tuple[dict[str, Any], list[Tensor]]:
    match = _PART.search(path.name)
    if not match:
        raise InputError(f"{path}: one of {num_parts} parts, but its name does not end in -00001-of-{num_parts:05d}.gguf")
    stem = path.name[: match.start()]
    fields: dict[str, Any] = {}
    tensors: list[Tensor] = []
    for number in range(num_parts, 0, -1):
        part = path.with_name(f"{stem}-{number:05d}-of-{num_parts:05d}.gguf")
        if not part.is_file():
            raise InputError(f"{path}: part {part.name} of the split model is missing")
        part_fields, part_tensors = _read_part(part)
        fields, tensors = {**fields, **part_fields}, part_tensors + tensors
    return fields, tensors


def _read_part(path: Path) -> tuple[dict[str, Any], list[Tensor]]:
    import gguf  # deferred: only this importer needs it, and it takes long to import

    try:
        num_file_bytes = path.stat().st_size
        reader = gguf.GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("tokenizer.")}
        tensors = [_tensor(item) for item in reader.tensors]
        end = max((int(item.data_offset) + int(item.n_bytes) for item in reader.tensors), default=0)
    except OSError as error:
        raise InputError(f"cannot read GGUF file {path}: {error.strerror or error}") from None
    except Exception as error:  # the reader lets any numpy, index or key error of a broken file through
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: truncated, or not a GGUF file ({reason})") from None
    if end > num_file_bytes:
        raise InputError(f"{path}: truncated: its tensors end at byte {end}, the file at {num_file_bytes}")
    return fields, tensors


def _tensor(item: Any) -> Tensor:
    return Tensor(
        name=str(item.name),
        shape=tuple(int(size) for size in item.shape),
        type_name=str(item.tensor_type.name).lower(),
        num_weights=int(item.n_elements),
        num_bytes=int(item.n_bytes),
    )
