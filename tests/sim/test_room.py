"""Memory that runs use one after another."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from sim.room import OWN_MEMORY, Room, Rooms


def test_a_name_has_the_same_memory_again() -> None:
    """It is the same as long as it is large enough; other names have their own."""
    room = Room()
    first = room.empty("times", (3, 40), np.int64)
    again = room.empty("times", 25, np.int32)
    assert np.shares_memory(first, again) and again.shape == (25,) and again.dtype == np.int32
    assert not np.shares_memory(first, room.empty("rows", (3, 40), np.int64))
    larger = room.empty("times", 1000, np.int64)
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(larger, room.empty("times", 10, np.int64))


def test_arrays_are_as_numpy_makes_them() -> None:
    """Records, several axes and no rows at all; kernels are compiled for such arrays."""
    record = np.dtype([("number", "i8"), ("kind", "u1")], align=True)
    for room in (Room(), OWN_MEMORY):
        for shape in (0, 7, (2, 5)):
            found = room.empty("rows", shape, record)
            made = np.empty(shape, record)
            assert found.shape == made.shape and found.dtype == made.dtype
            assert found.flags.c_contiguous and found.flags.aligned and found.flags.writeable


def test_what_is_kept_has_memory_of_its_own() -> None:
    """A run that is kept is not written over by the next."""
    first = OWN_MEMORY.empty("times", 10, np.int64)
    assert not np.shares_memory(first, OWN_MEMORY.empty("times", 10, np.int64))


def test_threads_have_rooms_of_their_own_and_give_them_back() -> None:
    """Two at once never share a room; one after the other does."""
    rooms = Rooms()
    both = Barrier(2)

    def used() -> Room:
        with rooms.lent() as room:
            both.wait(timeout=60)
            return room

    with ThreadPoolExecutor(2) as threads:
        one, other = (each.result() for each in [threads.submit(used) for _ in range(2)])
    assert one is not other
    with rooms.lent() as first:
        pass
    with rooms.lent() as second:
        pass
    assert first is second and first in (one, other)
