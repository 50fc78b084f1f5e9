"""A probe: one thing to time, as one point of one curve."""

from collections.abc import Callable
from dataclasses import dataclass

from hwprofiles import Operation
from validation.measuring.bench import Work

SHOWN_SIZES = ("hidden", "intermediate", "experts", "vocab")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CurveKey:
    """Key of a curve, with the fields of ``Curve``; ``shape`` is its items, so that keys can be
    sorted.
    """

    operation: Operation
    device: str
    dtype: str
    shape: tuple[tuple[str, int], ...] = ()

    @property
    def text(self) -> str:
        """The key in a few words for a person, enough to distinguish it from others."""
        shape = dict(self.shape)
        operation = "head" if "vocab" in shape else self.operation.value.replace("_", " ")
        sizes = "×".join(str(shape[name]) for name in SHOWN_SIZES if name in shape)
        sequences = f"of {shape['sequences']} sequences" if shape.get("sequences", 1) > 1 else ""
        return " ".join(
            word for word in (self.device, operation, self.dtype, sizes, sequences) if word
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """One thing to time, on the bench of that name.

    ``make`` prepares one run, from memory not used for long, and returns the function to time. Each
    run reads ``weight_bytes``, whatever ``x`` is, and does ``flops``.
    """

    key: CurveKey
    x: int
    bench: str
    make: Callable[[], Work]
    weight_bytes: int = 0
    flops: float = 0.0
