"""The header of a GGUF file: metadata and tensor table, over all parts of a split file.

Tensor data is never read.
"""

import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from hwprofiles import InputError
from sim.model.storage_types import STORAGE_TYPES

MOST_KEYS = 100_000
MOST_TENSORS = 200_000
MOST_VALUES = 100_000
"""The most values of an array that is kept; the tokenizer's are skipped."""

MOST_STRINGS = 5_000_000
"""The most strings of an array that is skipped: more than any vocabulary has."""

MOST_TEXT_BYTES = 2**24
MOST_NAME_BYTES = 2**16
MOST_DIMENSIONS = 4
"""The most dimensions of a tensor: GGML_MAX_DIMS of llama.cpp."""

MOST_ELEMENTS = 2**62
DEFAULT_ALIGNMENT = 32

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_LFS_POINTER = b"version https://git-lfs"
"""The beginning of a file that Git LFS leaves in place of a large one."""
_STRING = 8
_ARRAY = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One row of the tensor table; ``shape`` is in GGUF order, the contiguous dimension first."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    num_weights: int
    num_bytes: int
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Metadata and tensor table of a GGUF file.

    ``where`` names the file in errors. ``missing_bytes`` of tensor data are not in the file.
    """

    where: str
    fields: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    missing_bytes: int = 0


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file; of a split file, the joined tables of all parts, which must
    lie in one folder.

    Tensor data may be missing: a file that holds its header is enough. Raises InputError, one line,
    for a file that is not GGUF, whose header is cut, or whose table contradicts itself.
    """
    header = _read_part(path)
    num_parts = header.fields.get("split.count", 0)
    # Any part names how many there are, so any of them may be given.
    if isinstance(num_parts, int) and num_parts > 1:
        return _read_parts(path, num_parts)
    return header


def _read_parts(path: Path, num_parts: int) -> GgufHeader:
    match = _PART.search(path.name)
    if not match:
        raise InputError(
            f"{path}: one of {num_parts} parts, but its name does not end in -00001-of-{num_parts:05d}.gguf"
        )
    stem = path.name[: match.start()]
    parts = [
        path.with_name(f"{stem}-{number:05d}-of-{num_parts:05d}.gguf")
        # Names have five digits; a larger count is of a broken file, and no list is made of it.
        for number in range(1, min(num_parts, 99_999) + 1)
    ]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{path}: part {missing[0]}{others} of the split model is missing")
    headers = [_read_part(part) for part in parts]
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    stated = headers[0].fields.get("split.tensors.count")
    if isinstance(stated, int) and stated != len(tensors):
        raise InputError(
            f"{path}: split.tensors.count is {stated}, but the parts have {len(tensors)} tensors"
        )
    _check_names(str(path), tensors)
    fields: dict[str, Any] = {}
    # The first part has the model's keys; where parts differ, it goes before the others.
    for header in reversed(headers):
        fields |= header.fields
    return GgufHeader(
        where=str(path),
        fields=fields,
        tensors=tensors,
        missing_bytes=sum(header.missing_bytes for header in headers),
    )


def _read_part(path: Path) -> GgufHeader:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"cannot read GGUF file {path}: not a regular file")
        with path.open("rb") as file:
            return _Reader(where=str(path), file=file, num_bytes=status.st_size).header()
    except OSError as error:
        raise InputError(f"cannot read GGUF file {path}: {error.strerror or error}") from None


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads a header front to back; a count is compared with what the file can hold before anything
    is allocated.
    """

    where: str
    file: BinaryIO
    num_bytes: int
    at: int = 0
    fields: dict[str, Any] = field(default_factory=dict)

    def header(self) -> GgufHeader:
        """The whole header, checked as it is read."""
        magic = self.take(4)
        if magic == _LFS_POINTER[:4] and self.file.read(len(_LFS_POINTER) - 4) == _LFS_POINTER[4:]:
            raise InputError(
                f"{self.where}: a pointer of Git LFS, not the GGUF file itself; git lfs pull fetches it"
            )
        if magic != b"GGUF":
            raise InputError(f"{self.where}: not a GGUF file: it does not begin with GGUF")
        version = self.number("I")
        # Version 1 counted in 32 bits, and llama.cpp itself does not read it any more.
        if version not in (2, 3):
            raise InputError(
                f"{self.where}: not a GGUF file of version 2 or 3, got version {version}"
            )
        # The least that an entry takes: 8 bytes each for a name's length, an offset and one
        # dimension, 4 for their number and 4 for the type, and 1 of the name; a key has 8, 4 and a
        # value of 1.
        num_tensors = self.counted("tensors", self.number("Q"), 33, MOST_TENSORS)
        num_keys = self.counted("metadata keys", self.number("Q"), 13, MOST_KEYS)
        for _ in range(num_keys):
            self.read_key()
        tensors = tuple(self.tensor() for _ in range(num_tensors))
        _check_names(self.where, tensors)
        return GgufHeader(
            where=self.where,
            fields=self.fields,
            tensors=tensors,
            missing_bytes=self.missing_bytes(tensors),
        )

    def take(self, num_bytes: int) -> bytes:
        """Return the next ``num_bytes`` bytes. Raises InputError where the file ends before
        them.
        """
        # A wrong length could ask for exabytes; what the file does not hold is not asked for.
        content = self.file.read(num_bytes) if num_bytes <= self.num_bytes - self.at else b""
        if len(content) != num_bytes:
            raise InputError(f"{self.where}: truncated: its header ends at byte {self.num_bytes}")
        self.at += num_bytes
        return content

    def skip(self, num_bytes: int) -> None:
        """Pass over bytes that are not read. Raises InputError where the file ends before them."""
        if num_bytes > self.num_bytes - self.at:
            raise InputError(f"{self.where}: truncated: its header ends at byte {self.num_bytes}")
        self.file.seek(num_bytes, 1)
        self.at += num_bytes

    def number(self, code: str) -> Any:
        """Return one little-endian number of the struct format ``code``."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def counted(self, what: str, count: int, least_bytes: int, most: int) -> int:
        """Return the count. Raises InputError where it is above ``most`` or more than the file can
        hold.
        """
        if count > most:
            raise InputError(f"{self.where}: {count} {what}; at most {most} are read")
        if count * least_bytes > self.num_bytes - self.at:
            raise InputError(
                f"{self.where}: truncated: {count} {what} do not fit its {self.num_bytes} bytes"
            )
        return count

    def text(self, what: str, most: int) -> str:
        """Return a string of at most ``most`` bytes."""
        length = self.counted(f"bytes of {what}", self.number("Q"), 1, most)
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{self.where}: not a GGUF file: {what} is not text") from None

    def read_key(self) -> None:
        """Read one key with its value; keys of the tokenizer are passed over."""
        name = self.text("a metadata key", MOST_NAME_BYTES)
        if name in self.fields:
            raise InputError(f"{self.where}: metadata key {shown(name)} stands twice")
        kind = self.number("I")
        # A vocabulary is most of a header's bytes, and nothing here depends on it.
        is_kept = not name.startswith("tokenizer.")
        value = self.array(name, is_kept=is_kept) if kind == _ARRAY else self.scalar(name, kind)
        if is_kept:
            self.fields[name] = value

    def scalar(self, name: str, kind: int) -> Any:
        """Return one value that is no array."""
        if kind == _STRING:
            return self.text(f"metadata key {shown(name)}", MOST_TEXT_BYTES)
        if kind not in _SCALARS:
            raise InputError(
                f"{self.where}: not a GGUF file: metadata key {shown(name)} has type {kind}"
            )
        return self.number(_SCALARS[kind])

    def array(self, name: str, *, is_kept: bool) -> tuple[Any, ...]:
        """Return the values of an array, or pass over them and return none."""
        kind = self.number("I")
        count = self.number("Q")
        what = f"values of metadata key {shown(name)}"
        if kind == _STRING:
            self.counted(what, count, 8, MOST_VALUES if is_kept else MOST_STRINGS)
            return self.strings(count, is_kept=is_kept)
        if kind not in _SCALARS:
            raise InputError(
                f"{self.where}: not a GGUF file: metadata key {shown(name)} is an array of type {kind}"
            )
        code = _SCALARS[kind]
        size = struct.calcsize(f"<{code}")
        if is_kept:
            self.counted(what, count, size, MOST_VALUES)
            return struct.unpack(f"<{count}{code}", self.take(count * size))
        self.skip(count * size)
        return ()

    def strings(self, count: int, *, is_kept: bool) -> tuple[str, ...]:
        """Return the strings of an array, or pass over them, as over a vocabulary."""
        if is_kept:
            return tuple(self.text("a metadata value", MOST_NAME_BYTES) for _ in range(count))
        # Local names and no calls of ours: a vocabulary may have 200,000 strings to pass over.
        unpack = struct.Struct("<Q").unpack
        read = self.file.read
        seek = self.file.seek
        for _ in range(count):
            content = read(8)
            length = unpack(content)[0] if len(content) == 8 else self.num_bytes
            self.at += 8 + length
            if self.at > self.num_bytes:
                raise InputError(
                    f"{self.where}: truncated: its header ends at byte {self.num_bytes}"
                )
            seek(length, 1)
        return ()

    def tensor(self) -> Tensor:
        """Return one row of the tensor table."""
        name = self.text("a tensor name", MOST_NAME_BYTES)
        what = f"{self.where}: tensor {shown(name)}"
        num_dimensions = self.number("I")
        if not 1 <= num_dimensions <= MOST_DIMENSIONS:
            raise InputError(
                f"{what} must have 1 to {MOST_DIMENSIONS} dimensions, got {num_dimensions}"
            )
        shape = struct.unpack(f"<{num_dimensions}Q", self.take(8 * num_dimensions))
        kind = self.number("I")
        offset = self.number("Q")
        if min(shape) < 1 or prod(shape) > MOST_ELEMENTS:
            raise InputError(f"{what} must have 1 to {MOST_ELEMENTS} weights, got shape {shape}")
        storage = STORAGE_TYPES.get(kind)
        if storage is None:
            raise InputError(
                f"{what} has storage type {kind}, which is neither llama.cpp's nor ik_llama.cpp's"
            )
        # llama.cpp cannot store such a row; a table that claims one is broken.
        if shape[0] % storage.block:
            raise InputError(
                f"{what}: rows of {storage.name} hold whole blocks of {storage.block}, got rows of {shape[0]}"
            )
        return Tensor(
            name=name,
            shape=shape,
            type_name=storage.name,
            num_weights=prod(shape),
            num_bytes=storage.size(shape),
            offset=offset,
        )

    def missing_bytes(self, tensors: tuple[Tensor, ...]) -> int:
        """Bytes of tensor data beyond the file's end.

        Raises InputError for offsets that are not where data can be.
        """
        alignment = self.fields.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment > 2**30:
            raise InputError(
                f"{self.where}: metadata key general.alignment must be a positive integer, got {alignment!r}"
            )
        start = -(-self.at // alignment) * alignment
        end = 0
        for tensor in sorted(tensors, key=lambda one: one.offset):
            if tensor.offset >= 2**63:
                raise InputError(
                    f"{self.where}: tensor {shown(tensor.name)} has a negative offset, {tensor.offset - 2**64}"
                )
            if tensor.offset % alignment:
                raise InputError(
                    f"{self.where}: tensor {shown(tensor.name)} must begin at a multiple of {alignment}, got {tensor.offset}"
                )
            # Sorted by offset, so that any overlap is one of neighbours.
            if tensor.offset < end:
                raise InputError(
                    f"{self.where}: tensor {shown(tensor.name)} begins at {tensor.offset}, inside another that ends at {end}"
                )
            end = tensor.offset + tensor.num_bytes
        return max(0, start + end - self.num_bytes) if tensors else 0


def _check_names(where: str, tensors: tuple[Tensor, ...]) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise InputError(f"{where}: tensor {shown(tensor.name)} stands twice")
        seen.add(tensor.name)


def shown(name: str) -> str:
    """Return a name for a message: printable, and at most 80 characters."""
    text = name if name.isprintable() else repr(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
