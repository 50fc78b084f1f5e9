"""Compiling kernels with numba, once a machine: what is compiled is kept on disk beside the code, or in the user's cache folder."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """An entry point: compiled at its first call and kept on disk. Callable from Python and from other compiled functions."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function))


def inner(function: Function) -> Function:
    """A part of kernels of the same file, compiled into them (numba forgets a kept kernel only when its own file changes)."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)(function))


def is_kept(function: Callable[..., Any]) -> bool:
    """Whether this machine has a compiled form of that kernel on disk, or this process has one in memory."""
    dispatcher = cast(Any, function)
    if dispatcher.signatures:
        return True
    try:
        # numba has no public question "would this be loaded from disk?"
        index = dispatcher._cache._cache_file._load_index()
    except (AttributeError, OSError):
        return False
    cpu = dispatcher.targetctx.codegen().magic_tuple()
    return any(key[1] == cpu for key in index)
