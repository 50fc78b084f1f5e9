"""Kernels that a wheel brings along, compiled for x86-64-v3: most x86-64 processors since 2015 run them.

They lie in ``shipped``, in a folder for each Python and numba that they were compiled with, laid out as
numba's own cache is. They are used where Python, numba and sources are the same and the processor has
every feature of x86-64-v3. ``setup.py`` puts them there when a wheel is built; the repository has none.
"""

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.caching import IndexDataCacheFile

PROCESSOR = "x86-64-v3"
FEATURES = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
"""The features that x86-64-v3 adds to x86-64-v2, by LLVM's names (x86-64 psABI, section 3.1.1)."""
ROOT = Path(__file__).parent / "shipped"


def folder_of(root: Path) -> Path:
    """Return the folder below ``root`` for kernels of this Python and this numba."""
    version = sys.version_info
    return root / f"py{version.major}{version.minor}-numba{numba.__version__}"


@lru_cache(maxsize=1)
def shipped_folder() -> Path | None:
    """Return the folder of the shipped kernels that this process can use, or None if it can use
    none.
    """
    folder = folder_of(ROOT)
    if not folder.is_dir():
        return None
    return None if missing_features() else folder


def missing_features() -> tuple[str, ...]:
    """Return the features of x86-64-v3 that this processor lacks."""
    found = llvm.get_host_cpu_features()
    return tuple(feature for feature in FEATURES if not found.get(feature, False))


def file_name(cache: Any) -> str:
    """Return the path of a kernel's index file below the folder.

    The path begins with the package, because modules of several packages may share a file name.
    """
    package = str(cache._py_func.__module__).rpartition(".")[0]
    return f"{package}/{cache._impl.filename_base}"


def shipped_file(cache: Any) -> Any | None:
    """Return the index of a kernel that the wheel brought along, as numba reads it; None without one."""
    folder = shipped_folder()
    if folder is None:
        return None
    path = folder / file_name(cache)
    file = IndexDataCacheFile(str(path.parent), path.name, cache._cache_file._source_stamp)
    file._version = cache._cache_file._version
    return file


def shipped_key(key: Any) -> Any:
    """Return the key of a compiled signature in a shipped index, given the one for this processor."""
    signature, (triple, _, _), sources = key
    return signature, (triple, PROCESSOR, ""), sources
