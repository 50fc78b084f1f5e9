"""Two simple rules for predictions to beat: a roofline, and the median of other machines."""

import numpy as np
from numpy.typing import NDArray

from sim.runtimes.features import NOMINAL_CLOCK_HZ
from validation.accuracy.fit import Points

FloatArray = NDArray[np.float64]

DRAM_FRACTION = 0.62
GPU_MEMORY_FRACTION = 0.74
GPU_PEAK_FRACTION = 0.2
"""Share of the GPU's peak with sums in 16 bits that the roofline assumes.

That peak is twice the one that GeForce cards state, so the share is 40 % of the stated peak.
"""

CPU_OPERATIONS_PER_CYCLE = 64
"""Operations of a core per cycle: half the peak of byte dot products on 256-bit vectors.

At this rate memory limits decoding.
"""

ROOFLINE = (
    f"roofline: {DRAM_FRACTION:.0%} of the stated rate of DRAM, {GPU_MEMORY_FRACTION:.0%} of GPU memory, "
    f"{GPU_PEAK_FRACTION:.0%} of GPU peak, {CPU_OPERATIONS_PER_CYCLE} operations a cycle and CPU core, the link as stated"
)
MEDIAN = "median of other machines"


def roofline(points: Points) -> FloatArray:
    """Return tokens a second [point] if each device takes the longer of reading and computing.

    Devices and uploads work one after the other.
    """
    step = points.features
    work = step.work
    # A probe is closer to the truth than a datasheet, for the rule as for the model.
    stated = np.where(step.probe_bytes_per_s > 0, step.probe_bytes_per_s, step.socket_bytes_per_s)
    cpu_bytes = work.cpu_expert_bytes + work.cpu_dense_bytes + work.cpu_kv_bytes
    cpu_operations = (
        2 * (work.cpu_expert_weights + work.cpu_dense_weights) + work.cpu_attention_flops
    )
    cpu_rate = CPU_OPERATIONS_PER_CYCLE * NOMINAL_CLOCK_HZ * step.cores
    cpu = np.maximum(cpu_bytes / (stated * DRAM_FRACTION), cpu_operations / cpu_rate)
    gpu_reading = (work.gpu_read_s + work.gpu_kv_s) / GPU_MEMORY_FRACTION
    gpu_computing = (work.gpu_matrix_s + work.gpu_attention_s) / GPU_PEAK_FRACTION
    return np.asarray(
        step.tokens / (cpu + np.maximum(gpu_reading, gpu_computing) + work.upload_s), float
    )


def median_of_others(points: Points) -> FloatArray:
    """Return for each point the median over the other machines of their medians.

    There must be two machines at least.
    """
    rigs = np.array(points.rigs)
    medians = {rig: float(np.median(points.tokens_per_s[rigs == rig])) for rig in set(points.rigs)}
    others = {
        rig: np.median([speed for name, speed in medians.items() if name != rig]) for rig in medians
    }
    return np.array([others[rig] for rig in points.rigs], float)


def baselines_of(points: Points) -> dict[str, FloatArray]:
    """Return tokens a second [point] by rule, under the rule's description of itself.

    With one machine only, the median of others is left out.
    """
    found = {ROOFLINE: roofline(points)}
    if len(set(points.rigs)) > 1:
        found[MEDIAN] = median_of_others(points)
    return found
