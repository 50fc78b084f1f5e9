"""First in, first out."""

from sim.serving.kv.eviction.lru import Lru


class Fifo(Lru):
    """The block that was stored first goes first, whatever was used since."""

    def touch(self, key: int) -> None:
        """Ignore the use of a block."""
