"""The searches over what vLLM and accelerate can express: which weights stay in host memory."""

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from hwprofiles.units import GIB, THOUSAND
from planner.runtimes.asked import Asked
from planner.runtimes.option import Option
from planner.runtimes.rival import Rival, best_rival
from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.vllm.arguments import DEFAULT_CHUNK_TOKENS, VllmArguments

CHUNKS = (512, 1024, 2048, 4096, 8192, 16384)
PREFETCH_STEPS = (1, 2, 4)
MOST_IN_GROUP = 16
"""The most layers in a group, some of which are copied ahead: the least share is a sixteenth."""

OFFLOAD_STEPS_PER_GIB = 100
"""Steps of ``--cpu-offload-gb``, which is a fraction, in one GiB.

Hundredths are finer than any parameter of experts, and read well.
"""


def vllm_options(asked: Asked) -> Iterator[Option]:
    """Yield options that fit, each with as few bytes in host memory as its chunk leaves room for.

    The weights there are read over the link, or whole layers of them are copied ahead.
    """
    for chunk in asked.chunk_sizes(CHUNKS, DEFAULT_CHUNK_TOKENS):
        for is_experts_alone in (True, False):
            option = _least_offloaded(asked, chunk, is_experts_alone)
            if option is not None:
                yield option
            yield from _fewest_copied(asked, chunk, is_experts_alone)


def vllm_least(asked: Asked) -> Option:
    """Return the option that takes least of the GPU: all weights in host memory."""
    return asked.option(
        VllmArguments(
            chunk_tokens=CHUNKS[0],
            context_tokens=asked.load.cache_tokens,
            offload_bytes=float(asked.model.total_bytes),
        )
    )


def vllm_rivals(asked: Asked) -> Iterator[Rival]:
    """Yield the usual ways: the fewest offloaded bytes that fit, of any weights and of experts
    alone.
    """
    for name, is_experts_alone in (
        ("--cpu-offload-gb, least that fits", False),
        ("--cpu-offload-params experts", True),
    ):
        option = _least_offloaded(asked, DEFAULT_CHUNK_TOKENS, is_experts_alone)
        yield best_rival(asked, name, [] if option is None else [option])


def _least_offloaded(asked: Asked, chunk: int, is_experts_alone: bool) -> Option | None:
    """Return the option with the fewest bytes in host memory that fits; None where none does."""
    if not asked.host.gpus:
        return None
    base = VllmArguments(
        chunk_tokens=chunk,
        context_tokens=asked.load.cache_tokens,
        is_experts_alone=is_experts_alone and not asked.model.is_dense,
        memory_fraction=_memory_fraction(asked),
    )
    # First without offloading: what the GPU is short of then has to go to host memory.
    option = asked.option(replace(base, is_experts_alone=False))
    missing = asked.missing_bytes(option.memory, option.arguments).get("gpu0", 0.0)
    if missing:
        steps = math.ceil(missing / GIB * OFFLOAD_STEPS_PER_GIB)
        offload_bytes = steps / OFFLOAD_STEPS_PER_GIB * GIB
        option = asked.option(replace(base, offload_bytes=offload_bytes))
    return option if asked.fits(option) else None


def _fewest_copied(asked: Asked, chunk: int, is_experts_alone: bool) -> Iterator[Option]:
    """Yield the option with the fewest layers in host memory for each distance of copying ahead."""
    if not asked.host.gpus or (is_experts_alone and asked.model.is_dense):
        return
    base = VllmArguments(
        chunk_tokens=chunk,
        context_tokens=asked.load.cache_tokens,
        is_experts_alone=is_experts_alone,
        memory_fraction=_memory_fraction(asked),
    )
    groups = _groups(asked.model.num_layers)
    for step in PREFETCH_STEPS:
        low = 0
        high = len(groups)
        # More copied layers never need more of the GPU, so the fewest are found by halving.
        while low < high:
            middle = (low + high) // 2
            if asked.fits(asked.option(_grouped(base, groups[middle], step))):
                high = middle
            else:
                low = middle + 1
        if low < len(groups):
            yield asked.option(_grouped(base, groups[low], step))


def _groups(num_layers: int) -> list[tuple[int, int]]:
    """Return group sizes, each with the number of layers of a group that are copied.

    Groups are sorted by the share of layers that is copied, from one layer of the largest group to
    all.
    """
    shares = {
        Fraction(number, size): (size, number)
        for size in range(min(MOST_IN_GROUP, num_layers), 0, -1)
        for number in range(1, size + 1)
    }
    return [shares[share] for share in sorted(shares)]


def _grouped(base: VllmArguments, group: tuple[int, int], step: int) -> VllmArguments:
    size, number = group
    return replace(base, group_size=size, num_in_group=number, prefetch_step=step)


def _memory_fraction(asked: Asked) -> float:
    """Return the share of the GPU's memory that the limits allow, in thousandths, rounded down."""
    memory = asked.host.gpus[0].memory_bytes
    return max(1, int(THOUSAND * asked.room_bytes()["gpu0"] / memory)) / THOUSAND


def accelerate_options(asked: Asked) -> Iterator[Option]:
    """Yield the map with the fewest layers in host memory.

    The last layers are in host memory, but any others would do as well.
    """
    if not asked.host.gpus:
        return
    num_layers = asked.model.num_layers

    # Counts rise, so the first that fits has the fewest layers on the host.
    options = (_with_host_layers(asked, count) for count in range(num_layers + 1))
    found = next((option for option in options if asked.fits(option)), None)
    if found is not None:
        yield found


def accelerate_least(asked: Asked) -> Option:
    """Return the option that takes least of the GPU: all layers in host memory."""
    return _with_host_layers(asked, asked.model.num_layers)


def _with_host_layers(asked: Asked, count: int) -> Option:
    """Return the option with that many of the last layers in host memory."""
    num_layers = asked.model.num_layers
    return asked.option(
        AccelerateArguments(
            host_layers=tuple(range(num_layers - count, num_layers)),
            num_layers=num_layers,
            context_tokens=asked.load.cache_tokens,
        )
    )


def accelerate_rivals(asked: Asked) -> Iterator[Rival]:
    """Yield what accelerate does by itself, which differs only in the room that it leaves."""
    del asked
    yield Rival(
        name='device_map="auto"',
        reason="it fills the GPU in the same order, and leaves no room for keys and values",
    )
