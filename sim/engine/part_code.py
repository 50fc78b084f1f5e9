"""Compile parts of kernels cheaply: a part is optimised once, within the kernel that calls it.

On its own, numba optimises every function separately, with all that it calls, and turns it into
machine code. Kernels here are made of parts within parts. So numba optimised the innermost parts
five times or more, which took two thirds of the compilation time.
"""

from typing import Any

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder


class _NoEngine:
    """A part's code generator, which sets no environment: the engine holds no code of a part."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: the kernel that contains the part has the environment."""


class _PartLibrary(JITCodeLibrary):
    """LLVM code that kernels link in. It never becomes machine code by itself."""

    @property
    def codegen(self) -> Any:
        """Return the code generator, without its engine."""
        return _NoEngine(self._codegen)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0: the function has no machine code."""
        self._ensure_finalized()
        return 0


class PartCompiler(CompilerBase):
    """numba's compiler, for a function that only compiled code calls."""

    def define_pipelines(self) -> list[Any]:
        """Return numba's own passes; they fill the library that is set here."""
        state = self.state
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        return [DefaultPassBuilder.define_nopython_pipeline(state)]


def without_literals(dispatcher: Any) -> Any:
    """Have a part compiled once for integers, not once for each constant that it is called with.

    On its own, numba compiles a function anew for every set of constants. It compiled the function
    that appends a task forty times.
    """
    find = dispatcher.get_call_template

    def find_plain(args: Any, keywords: Any) -> Any:
        """Find the part for the types of the arguments, not for their values."""
        plain = {name: types.unliteral(value) for name, value in keywords.items()}
        return find(tuple(types.unliteral(value) for value in args), plain)

    dispatcher.get_call_template = find_plain
    return dispatcher
