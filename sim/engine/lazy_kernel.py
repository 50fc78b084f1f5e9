"""A function that numba compiles when it is first needed."""

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any


class Kernel:
    """A function that numba compiles at its first call, or when compiled code takes it in.

    Every other attribute is that of numba's dispatcher.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        compiled: Callable[..., Any],
        alone: Callable[..., Any] | None = None,
    ) -> None:
        """``compiled`` makes numba's dispatcher of the function; ``alone`` makes what Python calls
        instead, where that one has no way in from Python.
        """
        update_wrapper(self, function)
        self.py_func = function
        self._compiled = compiled
        self._alone = alone

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own object."""
        return self._compiled(self.py_func)

    @cached_property
    def entry(self) -> Any:
        """What Python calls."""
        return self.dispatcher if self._alone is None else self._alone(self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        """Run what numba compiled."""
        return self.entry(*arguments)

    def settled(self) -> Callable[..., Any]:
        """What a caller calls whose arguments are always of the types of its first call.

        It asks for their types only then: for records of arrays that takes longer than a short
        kernel runs. The caller answers for them, as others would be read as what they are not.
        """
        code: list[Callable[..., Any]] = []

        def run(*arguments: Any) -> Any:
            """Run the code of the first call's types."""
            if not code:
                types = tuple(self.entry.typeof_pyval(each) for each in arguments)
                code.append(self.entry.compile(types))
            return code[0](*arguments)

        return run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dispatcher, name)
