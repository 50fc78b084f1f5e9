"""A function that numba compiles when it is first needed."""

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any


class Kernel:
    """A function that numba compiles at its first call, or when compiled code takes it in.

    Every other attribute is that of numba's dispatcher.
    """

    def __init__(self, function: Callable[..., Any], compiled: Callable[..., Any]) -> None:
        """``compiled`` makes numba's dispatcher of the function."""
        update_wrapper(self, function)
        self.py_func, self._compiled = function, compiled

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own object."""
        return self._compiled(self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        """Run what numba compiled."""
        return self.dispatcher(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dispatcher, name)
