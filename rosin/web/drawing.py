"""Pictures of a plan as SVG that stretches with the page; words stand beside them as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from hwprofiles.units import format_bytes
from rosin.commands.plan.runtime_document import RuntimePlanResult
from sim.runtimes.placement import DevicePlacement

WIDTH = 1000
"""Width of a picture in its own coordinates; the page stretches them."""
MAP_HEIGHT = 100
PARTS = (
    ("weights", "weights", "c0"),
    ("expert_cache", "cache of experts", "c4"),
    ("kv", "KV cache", "c1"),
    ("compute", "buffers", "c2"),
)
"""The parts of memory: key in the document, words, and the class of the colour."""
FREE = "c7"
HOST_COLOR = "c6"
GPU_COLORS = ("c0", "c4", "c2", "c3", "c1", "c5")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBar:
    """The memory of one device as a picture, with its sizes in words.

    ``parts`` has the size of each part in words, and ``colors`` the class of its colour.
    """

    device: str
    words: str
    picture: str
    parts: Mapping[str, str]
    colors: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """Neighbouring MoE layers with equal placements: their numbers, and each device's share."""

    layers: str
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMap:
    """The experts of each layer by device: a picture, the devices with colours, and rows."""

    picture: str
    devices: tuple[tuple[str, str], ...]
    rows: tuple[LayerRun, ...]


def device_words(name: str) -> str:
    """A device's name as people say it."""
    if name == "host":
        return "main memory"
    return f"GPU {int(name.removeprefix('gpu')) + 1}" if name != "gpu0" else "GPU"


def memory_bars(result: RuntimePlanResult) -> list[MemoryBar]:
    """Return a bar for each device, as wide as the room that a plan may take.

    A bar is as wide as what the device holds if that is more, or if the room is not known.
    """
    bars = []
    has_cache = any(own.expert_cache for own in result.memory_bytes.values())
    # Few programs have such a cache: a page without one need not name it.
    used = [part for part in PARTS if has_cache or part[0] != "expert_cache"]
    for name, own in result.memory_bytes.items():
        sizes = [(words, color, getattr(own, key)) for key, words, color in used]
        held = sum(size for _, _, size in sizes)
        room = result.room_bytes.get(name)
        # At least 1: a device that holds nothing and has no known room gets a bar, too.
        whole = max(held, room or 0.0, 1.0)
        pieces = [(color, size / whole) for _, color, size in sizes] + [(FREE, 1 - held / whole)]
        of_room = "" if room is None else f" of {format_bytes(round(room))} that a plan may take"
        words = f"{format_bytes(held)}{of_room}"
        bars.append(
            MemoryBar(
                device=device_words(name),
                words=words,
                picture=_strip(f"{device_words(name)}: {words}", pieces),
                parts={words: format_bytes(size) for words, _, size in sizes},
                colors={words: color for words, color, _ in sizes},
            )
        )
    return bars


def layer_map(placement: DevicePlacement, moe_layers: Sequence[int]) -> LayerMap | None:
    """Return a column for each MoE layer, the GPUs' shares at the bottom; None without experts."""
    if not moe_layers:
        return None
    # GPUs first, so that what is on them stands on the ground line.
    order = [*range(1, placement.num_gpus + 1), 0]
    shares = placement.expert_fraction[np.asarray(moe_layers)][:, order]
    colors = [GPU_COLORS[gpu % len(GPU_COLORS)] for gpu in range(placement.num_gpus)]
    colors.append(HOST_COLOR)
    names = [device_words(f"gpu{gpu}") for gpu in range(placement.num_gpus)] + ["main memory"]
    rows = _runs(moe_layers, shares)
    on_gpu = 1 - float(shares[:, -1].mean())
    title = f"Experts by layer: {on_gpu:.0%} of them on GPUs"
    return LayerMap(
        picture=_columns(title, shares, colors),
        devices=tuple(zip(names, colors, strict=True)),
        rows=tuple(rows),
    )


def _runs(layers: Sequence[int], shares: np.ndarray) -> list[LayerRun]:
    """Return neighbouring layers with equal shares as one row."""
    found: list[LayerRun] = []
    first = 0
    for place in range(1, len(layers) + 1):
        if place < len(layers) and np.allclose(shares[place], shares[first]):
            continue
        last = place - 1
        words = f"{layers[first]}" if first == last else f"{layers[first]} to {layers[last]}"
        found.append(LayerRun(layers=words, shares=tuple(map(float, shares[first]))))
        first = place
    return found


def _strip(title: str, pieces: Sequence[tuple[str, float]]) -> str:
    left = 0.0
    shapes = []
    for color, share in pieces:
        width = WIDTH * max(0.0, share)
        shapes.append(f'<rect class="{color}" x="{left:.1f}" width="{width:.1f}" height="1"/>')
        left += width
    return _svg("strip", title, 1, "".join(shapes))


def _columns(title: str, shares: np.ndarray, colors: Sequence[str]) -> str:
    width = WIDTH / len(shares)
    shapes = []
    for place, column in enumerate(shares):
        bottom = float(MAP_HEIGHT)
        for color, share in zip(colors, column, strict=True):
            height = MAP_HEIGHT * float(share)
            bottom -= height
            if height > 0:
                # A column fills 92 % of its place: the gap keeps neighbours apart.
                shapes.append(
                    f'<rect class="{color}" x="{place * width:.1f}" y="{bottom:.1f}" '
                    f'width="{0.92 * width:.1f}" height="{height:.1f}"/>'
                )
    return _svg("columns", title, MAP_HEIGHT, "".join(shapes))


def _svg(kind: str, title: str, height: int, content: str) -> str:
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none">{content}</svg>'
    )
