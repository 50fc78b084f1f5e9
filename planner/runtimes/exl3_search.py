"""The search over what exllamav3 can express: layers with all experts on the CPU, or with some."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from planner.runtimes.asked import Asked
from planner.runtimes.option import Option
from planner.runtimes.rival import Rival, best_rival
from sim.runtimes.exllamav3.arguments import DEFAULT_CHUNK_TOKENS, Exl3Arguments
from sim.runtimes.features import cores_in_use

CHUNKS = (1024, 2048, 4096, 8192)


def exl3_options(asked: Asked) -> Iterator[Option]:
    """Yield options that fit, for every size of chunks: the fewest experts on the CPU in either
    way.
    """
    for chunk in CHUNKS:
        base = _base(asked, chunk)
        for option in (_fewest_layers(asked, base), _fewest_split(asked, base)):
            if option is not None:
                yield option


def exl3_least(asked: Asked) -> Option:
    """Return the option that takes least of the GPU: all experts on the CPU."""
    return asked.option(replace(_base(asked, CHUNKS[0]), cpu_layers=_layers(asked)))


def exl3_rivals(asked: Asked) -> Iterator[Rival]:
    """Yield all experts on the CPU, and the fewest layers of experts there with the usual chunk."""
    if not asked.host.gpus or asked.model.is_dense:
        return
    base = _base(asked, DEFAULT_CHUNK_TOKENS)
    every = asked.option(replace(base, cpu_layers=_layers(asked)))
    yield best_rival(asked, "-mcl, all layers", [every] if asked.fits(every) else [])
    fewest = _fewest_layers(asked, base)
    yield best_rival(asked, "-mcl, best N", [] if fewest is None else [fewest])


def _fewest_layers(asked: Asked, base: Exl3Arguments) -> Option | None:
    counts = range(_layers(asked) + 1)
    return _fewest(asked, lambda count: asked.option(replace(base, cpu_layers=count)), counts)


def _fewest_split(asked: Asked, base: Exl3Arguments) -> Option | None:
    counts = range(asked.model.num_experts + 1)
    return _fewest(asked, lambda count: asked.option(replace(base, split_experts=count)), counts)


def _fewest(asked: Asked, option: Callable[[int], Option], counts: Sequence[int]) -> Option | None:
    """Return the option with the least number that fits the GPU, found by halving, if the host has
    room for it.
    """
    if not asked.host.gpus:
        return None
    # GPU memory only falls as experts move to the CPU, so halving finds the least number.
    low = 0
    high = len(counts) - 1
    while low < high:
        middle = (low + high) // 2
        tried = option(counts[middle])
        missing = asked.missing_bytes(tried.memory, tried.arguments)
        if any(name.startswith("gpu") for name in missing):
            low = middle + 1
        else:
            high = middle
    found = option(counts[low])
    return found if asked.fits(found) else None


def _layers(asked: Asked) -> int:
    return len(asked.model.moe_layers)


def _base(asked: Asked, chunk: int) -> Exl3Arguments:
    return Exl3Arguments(
        threads=int(cores_in_use(asked.host, None)),
        chunk_tokens=chunk,
        context_tokens=asked.load.cache_tokens,
    )
