"""accelerate: the meaning of a device map, and its cost."""

from sim.runtimes.accelerate.arguments import AccelerateArguments, read_device_map

__all__ = ["AccelerateArguments", "read_device_map"]
