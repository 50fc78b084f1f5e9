"""Compile kernels with numba, once on each machine.

Compiled kernels are kept on disk beside the code, or in the user's cache folder.

On its own, numba discards a kept kernel only if the file of that kernel changes. It ignores changes
in files from which the kernel takes constants or parts. Kernels here call each other across files,
so a kept kernel is stamped with every file of ``sim`` that it can be made of. Kernels of another
package are stamped with the files of that package, too.
"""

import hashlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
from numba.core import types
from numba.extending import typeof_impl

from sim.engine.kept_code import load, read
from sim.engine.lazy_kernel import Kernel
from sim.engine.part_code import PartCompiler, without_literals
from sim.engine.shipped_code import shipped_file
from sim.memo import remembered

_njit: Any = numba.njit  # its types, where a numba has some, leave out an option that it has
_IMPORT = re.compile(r"^(?:from|import) ([\w.]+)(?: import (\([^)]*\)|[^\n]*))?", re.MULTILINE)
_HAS_KERNELS = re.compile(r"^from [\w.]*compilation import", re.MULTILINE)
SIMULATOR = Path(__file__).parent.parent
MOST_PACKAGES = 100


@typeof_impl.register(Kernel)
def _type_of_kernel(kernel: Kernel, context: Any) -> Any:
    """Return numba's type of a kernel's dispatcher, so that compiled code can call the kernel."""
    return types.Dispatcher(kernel.dispatcher)


def source_stamp(package: Path) -> str:
    """Return a hash of every source file that a kernel of the package can be made of.

    These are the modules that define kernels, and every module of the package that they import at
    their top, directly or through others.
    """
    sources = _sources(package)
    waiting = [name for name, text in sources.items() if _HAS_KERNELS.search(text)]
    waiting += [__name__] if __name__ in sources else []  # how they are compiled
    reached = set(waiting)
    while waiting:
        fresh = _imported(sources[waiting.pop()]) & sources.keys() - reached
        reached |= fresh
        waiting.extend(fresh)
    stamp = hashlib.sha256()
    for name in sorted(reached):
        stamp.update(f"{name} {len(sources[name])} {sources[name]}".encode())
    return stamp.hexdigest()


def _sources(package: Path) -> dict[str, str]:
    """Return the text of every module of the package, by its dotted name."""
    root = package.parent
    while (root / "__init__.py").exists():
        root = root.parent
    texts = {}
    for folder, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                parts = path.relative_to(root).with_suffix("").parts
                dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                texts[dotted] = path.read_text(encoding="utf-8")
    return texts


def _imported(text: str) -> set[str]:
    """Return the dotted names of what a source file imports at its top: modules, and names that may
    be modules.
    """
    found = set()
    for match in _IMPORT.finditer(text):
        found.add(match[1])
        found |= {f"{match[1]}.{name}" for name in re.findall(r"\w+", match[2] or "")}
    return found


def kept(function: Callable[..., Any], *, package: Path | None = None, **options: Any) -> Any:
    """Return numba's dispatcher of a function, with those options and with its code kept on disk.

    The kept code is stamped with the files of the simulator and, if given, of ``package``.
    """
    # No kernel is ever passed to compiled code as a value, which alone needs the C wrapper.
    options |= {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
    dispatcher = _njit(cache=True, **options)(function)
    store = dispatcher._cache
    if hasattr(store, "_load_overload"):
        store.load_overload = partial(load, store)
        store._cache_file._load_data = partial(read, store._cache_file)
        # numba has no public way to say what else a kernel is made of. It compares the version before
        # it reads a file's keys, and the stamp after: keys name the classes of records, and one that
        # was renamed since could not be read. So the version has the stamp in it, too.
        stamp = stamp_of(package)
        store._cache_file._source_stamp = stamp
        store._cache_file._version = f"{store._cache_file._version} {stamp}"
    return dispatcher


@remembered(MOST_PACKAGES)
def stamp_of(package: Path | None) -> str:
    """Return the stamp of a package's kept kernels; None stands for the simulator."""
    if package is None:
        return source_stamp(SIMULATOR)
    both = f"{stamp_of(None)} {source_stamp(package)}"
    return hashlib.sha256(both.encode()).hexdigest()


def part(function: Callable[..., Any], **options: Any) -> Any:
    """numba's dispatcher of a function that is optimised only within the kernels that call it."""
    options |= {"error_model": "numpy", "nogil": True, "pipeline_class": PartCompiler}
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return without_literals(_njit(**options, **wrappers)(function))


def is_kept(dispatcher: Any) -> bool:
    """Whether there is a compiled form of that kernel in memory, on disk or in the wheel."""
    if dispatcher.signatures:
        return True
    try:
        # numba has no public way to ask whether a call would load from disk; should this one
        # change, the answer is a needless notice.
        index = dispatcher._cache._cache_file._load_index()
        processor = dispatcher.targetctx.codegen().magic_tuple()
        if any(key[1] == processor for key in index):
            return True
        shipped = shipped_file(dispatcher._cache)
        return shipped is not None and bool(shipped._load_index())
    except (AttributeError, OSError):
        return False
