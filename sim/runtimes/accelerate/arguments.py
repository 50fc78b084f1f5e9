"""Device maps of accelerate 1.15 as JSON: a device for each module by its name.

Modules mapped to ``cpu`` are copied to the main GPU at each pass and computed there.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from hwprofiles import InputError

ACCELERATE = "accelerate"
GPU_NAMES = (0, "0", "cuda", "cuda:0")
LAYER = re.compile(r"(?:model\.)?(?:language_model\.)?layers\.(\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelerateArguments:
    """What a device map states.

    ``host_layers`` stay in host memory; everything else is on the GPU. ``num_layers`` counts the
    layers in the map.
    """

    host_layers: tuple[int, ...] = ()
    num_layers: int = 0
    chunk_tokens: int | None = None
    context_tokens: int | None = None
    threads: int | None = None
    experts_per_token: int | None = None
    ignored: tuple[str, ...] = ()


def read_device_map(text: str) -> AccelerateArguments:
    """Read a map of whole layers.

    Raises InputError for any other text, and for parts of layers, several GPUs, or the disk in a
    map.
    """
    devices = _devices(text)
    hosts = []
    layers = set()
    for name, device in devices.items():
        found = LAYER.fullmatch(name)
        if found is None and ".layers." in f".{name}":
            raise InputError(f"device map: {name}: only whole layers are priced")
        # JSON's false and 0.0 equal 0, and are no devices.
        is_gpu = isinstance(device, int | str) and device in GPU_NAMES and device is not False
        if device != "cpu" and not is_gpu:
            raise InputError(f"device map: {name}: {device}: only one GPU (0) and cpu are priced")
        if found is None and device == "cpu":
            raise InputError(f"device map: {name}: only layers are priced in host memory")
        if found is not None:
            if int(found[1]) in layers:
                raise InputError(f"device map: {name}: layer {int(found[1])} has a device already")
            layers.add(int(found[1]))
            if device == "cpu":
                hosts.append(int(found[1]))
    missing = next((index for index in range(len(layers)) if index not in layers), None)
    if missing is not None:
        raise InputError(
            f"device map: layer {missing} has no device, though layer {max(layers)} has one"
        )
    return AccelerateArguments(host_layers=tuple(sorted(hosts)), num_layers=len(layers))


def _devices(text: str) -> dict[str, Any]:
    # As a word of a line, the map stands in a shell's quotes.
    own = text.strip().strip("'")
    try:
        devices = json.loads(own)
    except (ValueError, RecursionError) as error:  # it nests without end, or has endless digits
        raise InputError(f"device map: no JSON that says where each layer is: {error}") from None
    if not isinstance(devices, dict) or not devices:
        raise InputError("device map: a JSON object of modules and devices is needed")
    return devices
