"""Experts by name for a fork of llama.cpp that has a static cache of experts.

The fork (thecodacus/llama.cpp, pull request 5) reads a CSV of choices, with rows
``position,layer,expert,expert,…``. The fork's llama-moe-trace writes such files (tools/moe-trace at
0bc799a0). The fork counts the choices of decoded tokens, whose positions are at least 0. In each
layer, the fork keeps as many of the most chosen experts in GPU memory as it is told. So the fork
keeps a plan's experts, if the CSV has no other choices.
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

    The program has one number of slots for all layers, so each layer gets as many as the layer that
    needs most. Slots to spare hold experts that the plan does not name.
    """
    slots = max(map(len, experts))
    placing = ("-ngl", "99", "-cmoe")
    return (*placing, "--moe-cache-profile", path, "--moe-cache-slots", str(slots))


def _rows(model: Model, experts: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield rows of as many experts as a token selects.

    The last row of a layer is filled up with the layer's first experts.
    """
    for layer, chosen in enumerate(experts):
        own = sorted(chosen)
        size = model.layers[layer].top_k
        for position, start in enumerate(range(0, len(own), max(1, size))):
            row = own[start : start + size]
            # Rows are all of one width, and an expert that is repeated was chosen anyway.
            row += own[: min(size - len(row), start)]
            yield ",".join(map(str, (position, layer, *row)))
