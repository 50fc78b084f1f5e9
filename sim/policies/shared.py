"""What runs over the same draw have in common, computed once while there is room to keep it."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")


class Shared:
    """Values by the draw that they are of and a key that says all else they depend on; at most
    ``max_bytes`` of arrays are kept.

    What was asked for longest ago goes first, and what is larger by itself is never kept. Several
    threads may ask; nobody may write to what they get. What one thread computes, others that ask
    for it meanwhile wait for.
    """

    def __init__(self, max_bytes: int) -> None:
        """Nothing kept yet."""
        self.max_bytes = max_bytes
        self._lock = Lock()
        self._num_bytes = 0
        self._kept: OrderedDict[Hashable, tuple[NDArray[Any], Any, int]] = OrderedDict()
        self._under_way: dict[Hashable, Future[Any]] = {}

    def get(self, tokens: NDArray[np.int32], key: Hashable, make: Callable[[], Value]) -> Value:
        """What ``make`` gives for that key and the draw of those ``tokens``, which are told apart
        by identity.

        Raises what ``make`` raises; each that waited for it then makes its own.
        """
        # No other array has this identity: an entry keeps its array alive.
        place = id(tokens), key
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return cast(Value, self._kept[place][1])
            expected = self._under_way.get(place)
            if expected is None:
                own: Future[Any] = Future()
                self._under_way[place] = own
        if expected is not None:
            # Whoever failed at it has told its own caller why.
            return cast(Value, expected.result()) if expected.exception() is None else make()
        return self._made(place, tokens, make, own)

    def _made(
        self,
        place: Hashable,
        tokens: NDArray[np.int32],
        make: Callable[[], Value],
        promise: "Future[Any]",
    ) -> Value:
        """Make the value, keep it if there is room, and give it to those who wait."""
        # Outside the lock, so that threads that make something else need not wait.
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._under_way[place]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._under_way[place]
            self._keep(place, tokens, value)
        promise.set_result(value)
        return value

    def _keep(self, place: Hashable, tokens: NDArray[np.int32], value: object) -> None:
        """Keep the value, and drop what was asked for longest ago where that is too much."""
        size = num_array_bytes(value)
        if size > self.max_bytes:
            return
        self._kept[place] = (tokens, value, size)
        self._num_bytes += size
        while self._num_bytes > self.max_bytes:
            _, (_, _, dropped_bytes) = self._kept.popitem(last=False)
            self._num_bytes -= dropped_bytes


def num_array_bytes(value: object) -> int:
    """Bytes of an array, or of the arrays that are fields of a dataclass."""
    if is_dataclass(value):
        return sum(num_array_bytes(getattr(value, item.name)) for item in fields(value))
    return value.nbytes if isinstance(value, np.ndarray) else 0
