"""Values that are computed once and remembered while there is room: the one memory of the program.

``functools.cache`` is for functions without arguments, such as one that reads a file that ships.
Values that depend on arguments could grow for as long as a process lives. So they are remembered
here, up to a limit.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")


def one_each(value: object) -> int:
    """Return 1: the size of a value where values are counted."""
    return 1


class Memo:
    """Values by a key that says all they depend on.

    The sizes of the values, as ``size_of`` measures them, add up to at most ``max_size``. The value
    asked for longest ago goes first. A value that is larger by itself is never kept. Several
    threads may ask; none may write to what it gets. If a thread asks for a value that another
    thread computes, it waits for that value.
    """

    def __init__(self, max_size: int, size_of: Callable[[object], int] = one_each) -> None:
        """Begin with no value kept."""
        self.max_size = max_size
        self._size_of = size_of
        self._lock = Lock()
        self._size = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._under_way: dict[Hashable, Future[Any]] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value for a key, which ``make`` computes if it is not kept.

        Raises what ``make`` raises. Threads that waited for a ``make`` that failed call their own.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast(Value, self._kept[key][0])
            expected = self._under_way.get(key)
            if expected is None:
                own: Future[Any] = Future()
                self._under_way[key] = own
        if expected is not None:
            # Whoever failed at it has told its own caller why.
            return cast(Value, expected.result()) if expected.exception() is None else make()
        return self._made(key, make, own)

    def _made(self, key: Hashable, make: Callable[[], Value], promise: "Future[Any]") -> Value:
        """Make the value, keep it if there is room, and give it to those who wait."""
        # Outside the lock, so that threads that make something else need not wait.
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self._keep(key, value)
        promise.set_result(value)
        return value

    def _keep(self, key: Hashable, value: object) -> None:
        """Keep the value; drop the values asked for longest ago if all together are too large."""
        size = self._size_of(value)
        if size > self.max_size:
            return
        self._kept[key] = (value, size)
        self._size += size
        while self._size > self.max_size:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._size -= dropped


def remembered(
    max_size: int, size_of: Callable[[object], int] = one_each
) -> Callable[[Callable[Arguments, Value]], Callable[Arguments, Value]]:
    """Make a function remember its results by its arguments, in a memo of that size."""

    def made(function: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
        """Give the function a memo of its own."""
        memo = Memo(max_size, size_of)

        @wraps(function)
        def known(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
            """Return the function's result for those arguments."""
            key = args, tuple(sorted(kwargs.items()))
            return memo.get(key, lambda: function(*args, **kwargs))

        return known

    return made


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """An array as part of a key, equal only to the very same array."""

    # Kept alive by its key, so that no other array can have its identity.
    array: NDArray[Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.array is other.array

    def __hash__(self) -> int:
        return id(self.array)


def num_array_bytes(value: object) -> int:
    """Bytes of an array, or of the arrays that are fields of a dataclass."""
    if is_dataclass(value):
        return sum(num_array_bytes(getattr(value, item.name)) for item in fields(value))
    return value.nbytes if isinstance(value, np.ndarray) else 0
