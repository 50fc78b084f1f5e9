"""Compiling kernels with numba, once a machine: what is compiled is kept on disk beside the code,
or in the user's cache folder.

By itself, numba forgets a kept kernel when the file of that kernel changes, not when a file that it
takes constants or parts from does. Kernels here call each other across files, so a kept kernel is
stamped with every file of ``sim`` that it can be made of. Kernels of another package are stamped
with its own files besides.
"""

import hashlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from sim.engine.kept_code import load, read
from sim.engine.part_code import PartCompiler, without_literals
from sim.engine.shipped_code import shipped_file

_njit: Any = numba.njit  # its types, where a numba has some, leave out an option that it has
Function = TypeVar("Function", bound=Callable[..., Any])
_IMPORT = re.compile(r"^(?:from|import) ([\w.]+)(?: import (\([^)]*\)|[^\n]*))?", re.MULTILINE)
_HAS_KERNELS = re.compile(r"^from [\w.]*compilation import", re.MULTILINE)


def source_stamp(package: Path) -> str:
    """Return a hash of every source file that a kernel of the package can be made of.

    These are the modules that define kernels and all modules of the package that those import at
    their top.
    """
    sources = _sources(package)
    waiting = [name for name, text in sources.items() if _HAS_KERNELS.search(text)]
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


_SOURCE_STAMP = source_stamp(Path(__file__).parent.parent)


def kept(function: Function, **options: Any) -> Function:
    """numba's ``njit`` with those options, kept on disk."""
    # No kernel is ever passed to compiled code as a value, which alone needs the C wrapper.
    dispatcher = _njit(cache=True, nogil=True, no_cfunc_wrapper=True, **options)(function)
    if hasattr(dispatcher._cache, "_load_overload"):
        dispatcher._cache.load_overload = partial(load, dispatcher._cache)
        dispatcher._cache._cache_file._load_data = partial(read, dispatcher._cache._cache_file)
    return cast(Function, dispatcher)


def _stamped(dispatcher: Function, stamp: str = _SOURCE_STAMP) -> Function:
    """The dispatcher, its cache bound to the whole package: numba has no public way to say what
    else a kernel is made of.
    """
    cache_file = getattr(cast(Any, dispatcher)._cache, "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = stamp
    return dispatcher


def kernel(function: Function) -> Function:
    """An entry point that allocates nothing: compiled at its first call and kept.

    Callable from Python and from compiled code.
    """
    # Without numba's runtime no reference is counted: atomic counts of arrays took half the time of
    # the event loop.
    return _stamped(kept(function, error_model="numpy", _nrt=False))


def allocating_kernel(function: Function) -> Function:
    """An entry point that makes arrays of its own."""
    return _stamped(kept(function, error_model="numpy"))


def kernels_of(stamp: str) -> Callable[[Function], Function]:
    """The same for kernels of another package, which may be made of the simulator too:

    ``stamp`` is its ``source_stamp``.
    """
    both = hashlib.sha256(f"{_SOURCE_STAMP} {stamp}".encode()).hexdigest()
    return lambda function: _stamped(kept(function, error_model="numpy"), both)


def parallel_kernel(function: Function) -> Function:
    """An entry point whose ``prange`` loops run on all cores, in threads."""
    return _stamped(kept(function, error_model="numpy", parallel=True))


def inner(function: Function) -> Function:
    """A part of kernels that is always inlined. Compiled code alone can call it."""
    # Inlined, because a call passes each array as seven words: the event loop takes twice as long
    # with calls.
    return _part(function, _nrt=False, forceinline=True)


def part(function: Function) -> Function:
    """A part of kernels that LLVM may inline or call, allocating nothing.

    Compiled code alone can call it.
    """
    return _part(function, _nrt=False)


def allocating_part(function: Function) -> Function:
    """A part of kernels that makes arrays of its own. Compiled code alone can call it."""
    return _part(function)


def by_itself(function: Function) -> Function:
    """A part as a kernel of its own, for callers from Python."""
    return kernel(cast(Function, cast(Any, function).py_func))


def _part(function: Function, **options: Any) -> Function:
    """Compile a function that is optimised only within the kernels that call it."""
    compile_part = _njit(
        nogil=True,
        error_model="numpy",
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        pipeline_class=PartCompiler,
        **options,
    )
    return cast(Function, without_literals(compile_part(function)))


def is_kept(function: Callable[..., Any]) -> bool:
    """Whether this process has a compiled form of that kernel in memory, or this machine one on
    disk for this code and processor.
    """
    dispatcher = cast(Any, function)
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
