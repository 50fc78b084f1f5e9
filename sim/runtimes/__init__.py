"""Runtimes: programs that people run models with.

The package reads their arguments, and predicts how they run a layer and what that costs.
"""

from sim.runtimes.asking import READERS, notes_on, read_runtime_arguments, with_kv_type
from sim.runtimes.formats import kernel_format
from sim.runtimes.host import HostGpu, RuntimeHost, Vector
from sim.runtimes.machine_host import host_assumptions, runtime_host
from sim.runtimes.memory import DeviceMemory, memory_of
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of
from sim.runtimes.predict import RuntimePrediction, Speed, predict
from sim.runtimes.question import PromptSide, RuntimeQuestion

__all__ = [
    "READERS",
    "DeviceMemory",
    "DevicePlacement",
    "HostGpu",
    "PromptSide",
    "RuntimeHost",
    "RuntimePrediction",
    "RuntimeQuestion",
    "Speed",
    "Vector",
    "host_assumptions",
    "kernel_format",
    "memory_of",
    "notes_on",
    "placement_of",
    "predict",
    "read_runtime_arguments",
    "runtime_host",
    "with_kv_type",
]
