"""Reads arrays of an ``.npz`` file, and checks the size of each before it is in memory."""

import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.errors import shortened
from hwprofiles.input_file import check_regular
from hwprofiles.units import MIB

SMALL_BYTES = 32 * MIB
"""The largest array, in bytes, that is read however well it is compressed."""
MAX_RATIO = 50
"""The most bytes of a larger array for each byte of its compressed form.

Expert ids of real models compress 2 to 5 times.
"""
_SUFFIX = ".npy"


def read_arrays(path: Path, keys: Sequence[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those arrays of ``keys`` that the file has, and the names of all its arrays.

    Raises InputError, which begins with the file. It refuses a file that is no ``.npz``, and an
    array too large for its file.
    """
    check_regular(path, "routing trace")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(_SUFFIX) for name in archive.namelist()]
            found = {key: _array(archive, key, str(path)) for key in keys if key in names}
    except InputError:
        raise
    except Exception as error:  # zipfile and numpy raise many types on a damaged archive
        reason = shortened(str(error), 120) or type(error).__name__
        raise InputError(f"{path}: not a readable .npz trace: {reason}") from None
    return found, names


def _array(archive: zipfile.ZipFile, key: str, where: str) -> NDArray[Any]:
    member = archive.getinfo(key + _SUFFIX)
    with archive.open(member) as file:
        # The header alone: a small file may claim an array that no memory holds.
        shape, dtype = _header(file)
    num_bytes = prod(shape) * dtype.itemsize
    if num_bytes > max(SMALL_BYTES, MAX_RATIO * member.compress_size):
        packed = f"{num_bytes:,} bytes out of {member.compress_size:,} in the file"
        raise InputError(
            f"{where}: {key} of shape {shape} would take {packed}, {MAX_RATIO} times as many at most"
        )
    with archive.open(member) as file:
        # A pickle could run code.
        return np.asarray(npy.read_array(file, allow_pickle=False))


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(file)
    else:
        shape, _, dtype = npy.read_array_header_2_0(file)
    return shape, dtype
