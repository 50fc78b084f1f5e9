"""Reading kernels from disk: what numba's own loading does beyond what a kernel needs to run is
left out, or put off until it is needed.

What is compiled already needs numba's runtime alone. All that compiling takes besides, numba loads
by itself when something is compiled.
"""

import pickle
from functools import partial
from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.environment import Environment, _rebuild_env, lookup_environment
from numba.core.runtime.nrt import rtsys

from sim.engine.shipped_code import shipped_file, shipped_key


def load(cache: Any, signature: Any, context: Any) -> Any:
    """Load a kernel from disk; None if it is not there.

    numba's ``Cache.load_overload`` first loads all that it could compile with, which takes a
    seventh of a second.
    """
    rtsys.initialize(context)
    context.codegen()._library_class = _KeptLibrary
    with cache._guard_against_spurious_io_errors():
        found = cache._load_overload(signature, context)
        return _load_shipped(cache, signature, context) if found is None else found


def _load_shipped(cache: Any, signature: Any, context: Any) -> Any:
    """Return a kernel that the wheel brought along, None if it brought none that can be used here."""
    file = shipped_file(cache)
    if file is None:
        return None
    file._load_data = partial(read, file)
    data = file.load(shipped_key(cache._index_key(signature, context.codegen())))
    return None if data is None else cache._impl.rebuild(context, data)


def read(cache_file: Any, name: str) -> Any:
    """What that file of the cache holds, as numba's ``IndexDataCacheFile._load_data``."""
    with open(cache_file._data_path(name), "rb") as file:
        return _Reader(file).load()


class _KeptLibrary(JITCodeLibrary):
    """Machine code; of a kernel from disk, its bitcode, which only kernels that take it in need, is
    parsed when one does.

    Parsing it, listing its names and, at the end, taking it apart took half of what loading takes.
    """

    _bitcode: bytes | None = None

    @classmethod
    def _unserialize(cls, codegen: Any, state: Any) -> Any:
        name, kind, data = state
        if kind != "object":
            return super()._unserialize(codegen, state)
        library = cls(codegen, name)
        code, library._bitcode = data
        library.enable_object_caching()
        library._set_compiled_object(code)
        library._finalize_final_module()
        return library

    def _get_module_for_linking(self) -> Any:
        if self._bitcode is not None and self._shared_module is None:
            self._shared_module = llvm.parse_bitcode(self._bitcode)
        return super()._get_module_for_linking()

    def get_pointer_to_function(self, name: str) -> int:
        """Where that function begins; of what was compiled here, 0 where there is none."""
        if self._bitcode is None:
            return int(super().get_pointer_to_function(name))
        return int(self._codegen._engine.get_function_address(name))


class _Reader(pickle.Unpickler):
    """Reads a kept kernel without importing modules. Numba keeps the module's name of each function
    in it and would import it, for code that looks up globals.

    Kernels look up none: theirs are constants. Many are parts of numba itself, which took a
    twentieth of a second to import.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What a file names."""
        found = super().find_class(module, name)
        return _environment if found is _rebuild_env else found


def _environment(module: str, constants: Any, name: str) -> Any:
    """As numba's ``_rebuild_env``, without its module."""
    found = lookup_environment(name)
    if found is None:
        found = Environment({"__name__": module})
        found.consts[:] = constants
        found.env_name = name
        Environment._memo[name] = found
    return found
