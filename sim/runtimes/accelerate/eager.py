"""The time that Python takes for each layer where transformers runs layers one by one."""

from dataclasses import replace

from sim.runtimes.prices import Seconds

PYTHON_LAYER_S = 1.2e-3
"""CPU time in seconds of one decoder layer with tiny weights and one token.

It was measured with transformers 5.23 and torch 2.13 on one thread of a busy 2.8 GHz Xeon,
2026-11-30. Qwen3-MoE takes 1.4 to 1.6 ms, Mixtral 0.6 to 1.1; the value is the median of six. It
includes CPU kernels of tiny matrices, where a GPU would take launches.
"""


def waiting_for_python(seconds: Seconds, num_layers: int, num_passes: int) -> Seconds:
    """Return the seconds with a GPU that waits for Python wherever its own kernels take less time.

    Kernels are launched without waiting for them, so the longer of the two counts.
    """
    python_s = num_passes * num_layers * PYTHON_LAYER_S
    return replace(seconds, gpu_weights=max(float(seconds.gpu_weights), python_s))
