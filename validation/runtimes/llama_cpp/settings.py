"""The settings of a run of llama.cpp: the file, the threads, and the arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwprofiles import InputError
from sim.runtimes.llama_cpp.arguments import ALL_LAYERS, LlamaArguments
from sim.runtimes.llama_cpp.overrides import HOST, CpuExperts, Override

ALL_GPU_LAYERS = 999
"""A number of layers for -ngl above that of any model, so that all go to devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLoad:
    """The number of rounds, and the tokens of each answer and prompt."""

    rounds: int = 5
    output_tokens: int = 16
    prompt_tokens: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """A file, the arguments of llama.cpp, and the names of the devices that stand for its GPUs.

    ``context_tokens`` is the room of the KV cache. ``devices`` are buffer names such as CUDA0;
    there are none if everything runs on the CPU.
    """

    model_file: Path
    arguments: LlamaArguments
    context_tokens: int = 512
    devices: tuple[str, ...] = ()

    @property
    def threads(self) -> int:
        """Threads of the CPU; one if the arguments state none."""
        return self.arguments.threads or 1

    @property
    def gpu_layers(self) -> int:
        """The number of -ngl: 0 without devices, all layers if the arguments state none."""
        if not self.devices:
            return 0
        asked = self.arguments.gpu_layers
        return ALL_GPU_LAYERS if asked is None or asked >= ALL_LAYERS else asked

    def overrides(self, num_layers: int, moe_layers: Sequence[int]) -> tuple[str, ...]:
        """Return the overrides of placement as ``pattern=buffer``, with shorthands written out.

        Without devices there are none: everything is in host memory.
        """
        if not self.devices:
            return ()
        found: list[Override] = []
        for item in self.arguments.placements:
            if isinstance(item, CpuExperts):
                found.extend(item.overrides(num_layers, tuple(moe_layers)))
            else:
                found.append(item)
        return tuple(f"{item.pattern}={self._buffer(item.device)}" for item in found)

    def _buffer(self, device: int) -> str:
        if device == HOST:
            return "CPU"
        if device >= len(self.devices):
            raise InputError(
                f"-ot …=CUDA{device}: this run has {len(self.devices)} devices beside the CPU"
            )
        return self.devices[device]
