"""The interface of the policies that decide which KV block a store evicts."""

from abc import ABC, abstractmethod
from collections.abc import Collection


class Eviction(ABC):
    """A policy that decides in which order a store evicts its blocks.

    The policy is told of every change of the store, and changes nothing in it. ``capacity_blocks``
    is the most that the store holds, None for one without limit. The policy knows each key that the
    store holds, from ``admit`` until ``evicted`` or ``dropped``.
    """

    def __init__(self, capacity_blocks: int | None) -> None:
        self.capacity_blocks = capacity_blocks

    def expect(self, key: int) -> None:  # noqa: B027 - most policies learn nothing from it
        """Note that a key that the store lacks is about to be stored. The store calls this before
        it makes room.
        """

    @abstractmethod
    def admit(self, key: int) -> None:
        """Note that the store holds the key from now on."""

    @abstractmethod
    def touch(self, key: int) -> None:
        """Note that a held key was used, or stored again."""

    @abstractmethod
    def victim(self, pinned: Collection[int]) -> int | None:
        """The held key that should go next and is not pinned; None where there is none.

        Asking alone changes nothing.
        """

    @abstractmethod
    def dropped(self, key: int) -> None:
        """Note that the store removed the key because it was told to."""

    def evicted(self, key: int) -> None:
        """Note that the store removed the key, its victim, to make room."""
        self.dropped(key)
