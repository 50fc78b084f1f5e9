"""accelerate: what a device map means and what it costs."""

from sim.runtimes.accelerate.arguments import AccelerateArguments, read_device_map

__all__ = ["AccelerateArguments", "read_device_map"]
