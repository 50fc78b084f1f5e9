"""A function that numba compiles when it is first needed."""

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any


class Kernel:
    """A function that numba compiles at its first call, or when it compiles a caller of the
    function.

    Every attribute that is not defined here is that of numba's dispatcher.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        compiled: Callable[..., Any],
        alone: Callable[..., Any] | None = None,
    ) -> None:
        """Wrap a function without compiling it.

        ``compiled`` makes numba's dispatcher of the function. If Python cannot call that
        dispatcher, ``alone`` makes another for calls from Python.
        """
        update_wrapper(self, function)
        self.py_func = function
        self._compiled = compiled
        self._alone = alone

    @cached_property
    def dispatcher(self) -> Any:
        """numba's dispatcher of the function, for calls from compiled code."""
        return self._compiled(self.py_func)

    @cached_property
    def entry(self) -> Any:
        """The dispatcher that Python calls."""
        return self.dispatcher if self._alone is None else self._alone(self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        return self.entry(*arguments)

    def settled(self) -> Callable[..., Any]:
        """Return a function for a caller whose arguments always have the types of its first call.

        Only the first call looks up the types of the arguments. For records of arrays, the look-up
        takes longer than a short kernel runs. Later calls check nothing, so other types would be
        misread.
        """
        code: list[Callable[..., Any]] = []

        def run(*arguments: Any) -> Any:
            """Run the code that was compiled for the types of the first call."""
            if not code:
                types = tuple(self.entry.typeof_pyval(each) for each in arguments)
                code.append(self.entry.compile(types))
            return code[0](*arguments)

        return run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dispatcher, name)
