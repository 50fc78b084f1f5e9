"""Say which functions are compiled, and how. numba is loaded when the first of them is called.

So listing policies, which refer to kernels, takes no numba; see ``compiler`` for the compiling.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sim.engine.lazy_kernel import Kernel

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """An entry point that allocates nothing: compiled at its first call and kept.

    Callable from Python and from compiled code.
    """
    # Without numba's runtime no reference is counted: atomic counts of arrays took half the time of
    # the event loop.
    return _lazy(function, _kept, _nrt=False)


def allocating_kernel(function: Function) -> Function:
    """An entry point that makes arrays of its own."""
    return _lazy(function, _kept)


def kernels_of(package: Path) -> Callable[[Function], Function]:
    """Return ``allocating_kernel`` for another package, whose kernels may be made of the
    simulator too.
    """
    return lambda function: _lazy(function, _kept, package=package)


def inner(function: Function) -> Function:
    """A part of kernels that is always inlined. Called from Python, it is compiled by itself."""
    # Inlined, because a call passes each array as seven words: the event loop takes twice as long
    # with calls.
    return _lazy_part(function, forceinline=True, _nrt=False)


def part(function: Function) -> Function:
    """A part of kernels that LLVM may inline or call, allocating nothing."""
    return _lazy_part(function, _nrt=False)


def allocating_part(function: Function) -> Function:
    """A part of kernels that makes arrays of its own."""
    return _lazy_part(function)


def by_itself(function: Function) -> Function:
    """A part as a kernel of its own, for callers from Python."""
    return kernel(cast(Function, cast(Any, function).py_func))


def settled(function: Function) -> Function:
    """A kernel for a caller whose arguments are always of the types of its first call: see
    Kernel.settled.
    """
    return cast(Function, cast(Kernel, function).settled())


def is_kept(function: Callable[..., Any]) -> bool:
    """Whether this process has a compiled form of that kernel in memory, or this machine one on
    disk for this code and processor.
    """
    import sim.engine.compiler as compiler

    return compiler.is_kept(cast(Any, function).dispatcher)


def _lazy(function: Function, compiled: Callable[..., Any], **options: Any) -> Function:
    return cast(Function, Kernel(function, partial(compiled, **options)))


def _lazy_part(function: Function, *, forceinline: bool = False, **options: Any) -> Function:
    compiled = partial(_part, forceinline=forceinline, **options)
    return cast(Function, Kernel(function, compiled, partial(_kept, **options)))


def _kept(function: Callable[..., Any], **options: Any) -> Any:
    import sim.engine.compiler as compiler

    return compiler.kept(function, **options)


def _part(function: Callable[..., Any], **options: Any) -> Any:
    import sim.engine.compiler as compiler

    return compiler.part(function, **options)
