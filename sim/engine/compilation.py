"""Decorators that mark functions for compilation with numba.

numba is imported only when the first marked function is called. So policies, which refer to
kernels, can be listed without numba. The module ``compiler`` does the compiling.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sim.engine.lazy_kernel import Kernel

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Make a function an entry point that allocates no arrays.

    The kernel is compiled at its first call and kept on disk. Python and compiled code may call it.
    """
    # Without numba's runtime no reference is counted: atomic counts of arrays took half the time of
    # the event loop.
    return _lazy(function, _kept, _nrt=False)


def allocating_kernel(function: Function) -> Function:
    """Make a function an entry point that may allocate arrays."""
    return _lazy(function, _kept)


def kernels_of(package: Path) -> Callable[[Function], Function]:
    """Return the decorator ``allocating_kernel`` for kernels of another package.

    Such a kernel may be made of that package's code and of the simulator's.
    """
    return lambda function: _lazy(function, _kept, package=package)


def inner(function: Function) -> Function:
    """Make a function a part of kernels that is always inlined.

    A call from Python compiles the function by itself.
    """
    # Inlined, because a call passes each array as seven words: the event loop takes twice as long
    # with calls.
    return _lazy_part(function, forceinline=True, _nrt=False)


def part(function: Function) -> Function:
    """Make a function a part of kernels that allocates nothing and that LLVM may inline or call."""
    return _lazy_part(function, _nrt=False)


def allocating_part(function: Function) -> Function:
    """Make a function a part of kernels that may allocate arrays."""
    return _lazy_part(function)


def by_itself(function: Function) -> Function:
    """Return a part as a kernel of its own, for calls from Python."""
    return kernel(cast(Function, cast(Any, function).py_func))


def settled(function: Function) -> Function:
    """Return a kernel for a caller that always passes the argument types of its first call.

    See ``Kernel.settled``.
    """
    return cast(Function, cast(Kernel, function).settled())


def is_kept(function: Callable[..., Any]) -> bool:
    """Return whether a compiled form of a kernel exists.

    The form may be in this process's memory, or on this machine's disk for this code and processor.
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
