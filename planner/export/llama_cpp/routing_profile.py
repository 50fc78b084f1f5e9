"""Experts by name for a fork of llama.cpp with a static cache of them (thecodacus/llama.cpp, pull
request 5).

It reads a CSV of choices, a row ``position,layer,expert,expert,…`` as its llama-moe-trace writes them
(tools/moe-trace at 0bc799a0), counts those of decoded tokens, whose positions are at least 0, and
keeps as many of the most chosen in GPU memory as it is told for each layer. So a CSV that has no
choices but a plan's experts makes it keep these.
"""

from collections.abc import Iterator, Sequence

from hwprofiles import InputError
from sim.model.model import Model


def profile_csv(model: Model, experts: Sequence[Sequence[int]]) -> str:
    """Return the CSV for the experts of each layer that the GPU is to hold.

    Raises InputError for a model without experts, and for a plan that holds none.
    """
    if model.is_dense:
        raise InputError(f"{model.name} has no experts to place")
    if not any(experts):
        raise InputError("the plan holds no expert on the GPU")
    return "\n".join(_rows(model, experts)) + "\n"


def profile_words(experts: Sequence[Sequence[int]], path: str) -> tuple[str, ...]:
    """Return the flags that read the CSV at ``path``.

    Every layer gets as many slots as the one that needs most, as the program has one number for all;
    slots that a layer does not need hold experts that the plan does not name.
    """
    slots = max(map(len, experts))
    placing = ("-ngl", "99", "-cmoe")
    return (*placing, "--moe-cache-profile", path, "--moe-cache-slots", str(slots))


def _rows(model: Model, experts: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield rows of as many experts as a token chooses; the last is filled up with the first."""
    for layer, chosen in enumerate(experts):
        own = sorted(chosen)
        size = model.layers[layer].top_k
        for position, start in enumerate(range(0, len(own), max(1, size))):
            row = own[start : start + size]
            # Rows are all of one width, and an expert that is repeated was chosen anyway.
            row += own[: min(size - len(row), start)]
            yield ",".join(map(str, (position, layer, *row)))
