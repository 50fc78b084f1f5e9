"""Filling GPUs with experts: whole layers first, then the matrices of one more.

Prices decide the order. A layer whose experts are all on its GPU saves two changes of device, a
matrix saves its bytes alone. Of layers that cost the same, the first go to the GPU. A prompt's
later layers select fewer distinct experts, so fewer are copied (ik_llama.cpp pull request 2262).
"""

from planner.runtimes.asked import Asked
from planner.runtimes.llama_layout import (
    ON_HOST,
    Layout,
    Matrices,
    arguments_of,
    layout_of,
    placement_in,
)
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.memory import DeviceMemory, memory_of
from sim.runtimes.placement import HOST


def fillings(asked: Asked, base: LlamaArguments, homes: tuple[int, ...]) -> list[Layout]:
    """Return layouts with these homes that fill the GPUs with experts; none where none fits.

    Where layers differ in size, the smallest go first in one layout, so that most fit. In the
    other, the largest go first, which may leave less memory unused. A GPU holds experts of its own
    layers alone: on another they would cost changes of device.
    """
    everything = layout_of(homes, ())
    if _fits_on_gpus(asked, base, everything):
        return [everything]
    layout = layout_of(homes, asked.model.moe_layers)
    room = _gpu_room(asked, base, layout)
    # Not even the dense parts fit; fewer layers have to go to the GPUs.
    if any(free < 0 for free in room.values()):
        return []
    found: dict[tuple[Matrices, ...], Layout] = {}
    for sign in (1, -1):
        filling = layout
        for gpu, free in room.items():
            filling = _with_experts(asked, filling, gpu, free, sign)
        # Layers of one size give the same filling in both orders.
        found[filling.matrices] = filling
    return list(found.values())


def filled(asked: Asked, base: LlamaArguments, homes: tuple[int, ...]) -> Layout | None:
    """Return the layout with these homes that takes the smallest layers first, None where none
    fits.
    """
    return next(iter(fillings(asked, base, homes)), None)


def memory_in(asked: Asked, base: LlamaArguments, layout: Layout) -> dict[str, DeviceMemory]:
    """Return the memory of a layout."""
    return memory_of(asked.question(arguments_of(asked, base, layout)), placement_in(asked, layout))


def _fits_on_gpus(asked: Asked, base: LlamaArguments, layout: Layout) -> bool:
    missing = asked.missing_bytes(memory_in(asked, base, layout), base)
    return not any(name.startswith("gpu") for name in missing)


def _gpu_room(asked: Asked, base: LlamaArguments, layout: Layout) -> dict[int, float]:
    """Return the bytes left for experts on each GPU that has layers."""
    memory = memory_in(asked, base, layout)
    room = asked.room_bytes()
    return {
        gpu: room[f"gpu{gpu}"] - memory[f"gpu{gpu}"].total
        for gpu in sorted(set(layout.homes) - {HOST})
    }


def _with_experts(asked: Asked, layout: Layout, gpu: int, free: float, sign: int) -> Layout:
    """Return the layout with experts of the GPU's layers moved to the GPU.

    Layers go by size (``sign`` 1: the smallest first), and of equals the first one first. Then a
    part of one more layer goes into what is left of the ``free`` bytes.
    """
    own = [layer for layer in asked.model.moe_layers if layout.homes[layer] == gpu]
    own.sort(key=lambda layer: (sign * sum(asked.matrix_bytes[layer]), layer))
    matrices = list(layout.matrices)
    left = []
    for layer in own:
        size = sum(asked.matrix_bytes[layer])
        if size > free:
            left.append(layer)
            continue
        matrices[layer] = (gpu, gpu, gpu)
        free -= size
    parts = {layer: _partial(asked, layer, gpu, free) for layer in left}
    if parts:
        layer = max(left, key=lambda layer: _bytes_on_gpu(asked, layer, parts[layer]))
        matrices[layer] = parts[layer]
    return Layout(layout.homes, tuple(matrices))


def _bytes_on_gpu(asked: Asked, layer: int, devices: Matrices) -> int:
    sizes = zip(asked.matrix_bytes[layer], devices, strict=True)
    return sum(size for size, device in sizes if device != HOST)


def _partial(asked: Asked, layer: int, gpu: int, free: float) -> Matrices:
    """Return the largest part of a layer that fits: gate and up, or down, or nothing.

    Gate and up stay together, since some files hold them as one matrix. In ik_llama.cpp, they are
    one operation, which ran at a fraction of its speed over two devices (its issue 521).
    """
    gate, up, down = asked.matrix_bytes[layer]
    if gate + up <= free:
        return (gpu, gpu, HOST)
    if down <= free:
        return (HOST, HOST, gpu)
    return ON_HOST
