"""``python -m planner.search.ship FOLDER``: compile all kernels into a folder that a wheel packs.

``setup.py`` calls it, with numba told to compile for x86-64-v3 into an empty cache.
"""

import pkgutil
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from planner.search.prepare import STEPS, CompileStep, prepare, run_from_python
from sim.engine.shipped_code import PROCESSOR, file_name, folder_of

PACKAGES = ("sim", "planner")
ALL_STEPS = (
    *STEPS,
    CompileStep(
        name="driving from Python",
        run=run_from_python,
        share=0.0,
        after=("simulating caches", "simulating static residents"),
    ),
)


def ship(root: Path) -> int:
    """Compile everything, and copy what numba kept; return the number of kernels."""
    for _ in prepare(ALL_STEPS):
        pass
    number = 0
    for dispatcher in dispatchers():
        cache = dispatcher._cache
        index = cache._cache_file._load_index()
        # A kernel may also be kept for this very processor, which no other computer could run.
        shipped = [name for key, name in index.items() if key[1][1] == PROCESSOR]
        if not shipped:
            continue
        target = folder_of(root) / file_name(cache)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cache._cache_file._index_path, target.parent)
        for name in shipped:
            shutil.copy(cache._cache_file._data_path(name), target.parent)
        number += len(shipped)
    return number


def dispatchers() -> Iterator[Any]:
    """Yield every kernel that the packages define, each once."""
    seen = set()
    for package in PACKAGES:
        found = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
        for module in found:
            for value in vars(import_module(module.name)).values():
                if hasattr(getattr(value, "_cache", None), "_cache_file") and id(value) not in seen:
                    seen.add(id(value))
                    yield value


if __name__ == "__main__":
    print(f"{ship(Path(sys.argv[1]))} kernels compiled for {PROCESSOR}")
