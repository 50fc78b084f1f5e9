"""What a store of KV blocks asks of the policy that decides which block goes."""

from abc import ABC, abstractmethod
from collections.abc import Collection


class Eviction(ABC):
    """The order in which blocks go. It sees every change of the store, and changes nothing itself.

    ``capacity_blocks`` is what the store holds at most, None for one without limit. Keys that the
    store holds are known here from ``admit`` on, until ``evicted`` or ``dropped``.
    """

    def __init__(self, capacity_blocks: int | None) -> None:
        self.capacity_blocks = capacity_blocks

    def expect(self, key: int) -> None:  # noqa: B027 - most policies learn nothing from it
        """A key that the store lacks is about to be stored: called before room is made for it."""

    @abstractmethod
    def admit(self, key: int) -> None:
        """The store holds the key from now on."""

    @abstractmethod
    def touch(self, key: int) -> None:
        """A held key was used, or stored again."""

    @abstractmethod
    def victim(self, pinned: Collection[int]) -> int | None:
        """The held key that should go next and is not pinned; None where there is none.

        Asking alone changes nothing.
        """

    @abstractmethod
    def dropped(self, key: int) -> None:
        """The store let go of the key because it was told to."""

    def evicted(self, key: int) -> None:
        """The store let go of the key, its victim, to make room."""
        self.dropped(key)
