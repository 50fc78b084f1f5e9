"""Copies into llama.cpp's cache of experts: every miss that the CPU computes is copied in too."""

from dataclasses import replace

from sim.runtimes.caching.lanes import ExpertLanes, estimated_both
from sim.runtimes.constants import Constants
from sim.runtimes.features import Features
from sim.runtimes.host import RuntimeHost
from sim.runtimes.prices import Seconds, dram_bytes_per_s


def with_admissions(
    host: RuntimeHost, step: Features, seconds: Seconds, constants: Constants
) -> Seconds:
    """Return the price of a token whose misses are copied in while the CPU computes them.

    CPU and link read the same memory. The time that they take longer together counts as copying.
    """
    read = float(step.work.cpu_expert_bytes)
    if not read or not host.gpus:
        return seconds
    link = min(gpu.link_bytes_per_s for gpu in host.gpus)
    lanes = ExpertLanes(
        cpu_bytes_per_s=read / float(seconds.cpu_experts),
        link_bytes_per_s=link,
        both_bytes_per_s=estimated_both(float(dram_bytes_per_s(step, constants)), link),
    )
    # Each miss is computed and copied: the same bytes on both lanes.
    return replace(seconds, upload=lanes.seconds(read, read) - float(seconds.cpu_experts))
