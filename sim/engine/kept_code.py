"""Load kernels from disk quickly.

numba's own loader also prepares the compiler. This loader leaves that out, or puts it off until it
is needed. A compiled kernel needs only numba's runtime. numba loads the compiler by itself when
something is compiled.
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

    numba's ``Cache.load_overload`` first loads everything that compiling needs, which takes a
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
    """Return the content of a cache file, in place of numba's ``IndexDataCacheFile._load_data``."""
    with open(cache_file._data_path(name), "rb") as file:
        return _Reader(file).load()


class _KeptLibrary(JITCodeLibrary):
    """A library of machine code that parses the bitcode of a kernel from disk only when it is
    needed.

    Only kernels that link this kernel in need its bitcode. Parsing the bitcode, listing its names
    and disposing of it at exit took half of the loading time.
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
        """Return the address of a function; 0 if code compiled in this process has no such
        function.
        """
        if self._bitcode is None:
            return int(super().get_pointer_to_function(name))
        return int(self._codegen._engine.get_function_address(name))


class _Reader(pickle.Unpickler):
    """An unpickler of kept kernels that does not import the modules of their functions.

    A kept kernel names the module of each of its functions. numba would import these modules, for
    code that looks up globals. Kernels look up no globals, because theirs are compiled as
    constants. Many of the modules are numba's own, and importing them took a twentieth of a second.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return the named object, with ``_environment`` in place of numba's ``_rebuild_env``."""
        found = super().find_class(module, name)
        return _environment if found is _rebuild_env else found


def _environment(module: str, constants: Any, name: str) -> Any:
    """Return a function's environment as numba's ``_rebuild_env`` does, without importing its
    module.
    """
    found = lookup_environment(name)
    if found is None:
        found = Environment({"__name__": module})
        found.consts[:] = constants
        found.env_name = name
        Environment._memo[name] = found
    return found
