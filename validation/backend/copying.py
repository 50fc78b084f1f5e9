"""Copies of weights that can be cut into pieces."""

from torch import Tensor


class Copy:
    """A copy from flat tensors to others of the same sizes; a call copies all and returns the
    bytes.
    """

    def __init__(self, *pairs: tuple[Tensor, Tensor]) -> None:
        """Take pairs of (target, source)."""
        self._pairs = pairs
        self.num_bytes = sum(int(source.nbytes) for _, source in pairs)

    def __call__(self) -> int:
        """Copy everything, and return the bytes copied."""
        for target, source in self._pairs:
            # On a stream the launching thread must not wait. On the host the flag does nothing.
            target.copy_(source, non_blocking=True)
        return self.num_bytes

    def pieces(self, count: int) -> list["Copy"]:
        """Return ``count`` copies (at least one), cut alike from every tensor; together they are
        this one.
        """
        count = max(1, count)
        return [
            Copy(
                *(
                    (_cut(target, place, count), _cut(source, place, count))
                    for target, source in self._pairs
                )
            )
            for place in range(count)
        ]


def _cut(flat: Tensor, place: int, count: int) -> Tensor:
    size = flat.numel()
    # Multiplied before divided, so that pieces differ by one number at most and none is left out.
    return flat[size * place // count : size * (place + 1) // count]
