"""Measure the host time of eager MoE loops: ``python -m benchmarks.fmoe_host_time``.

The benchmark runs MoE blocks of transformers 4, which loop over all experts as the evaluated
engine's blocks do. Weights are tiny, so that Python and PyTorch's dispatch take the time. A figure
is process time, the least of several repeats; the spread shows how noisy the machine was. Operators
that reach a device count as kernels; the machine file prices these.
"""

import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hwprofiles.units import NS_PER_US

HIDDEN = 32
TOKENS = (1, 37)
NUM_REPEATS = 15
NUM_CALLS = 20
WITHOUT_KERNEL = (
    "view", "reshape", "permute", "transpose", "expand", "unsqueeze", "select", "slice", "detach",
    "alias", "t.default", "_unsafe_view", "split", "squeeze", "empty", "as_strided",
)  # fmt: skip
"""Operators that only describe a tensor anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTime:
    """Process time of one layer's MoE block for one pass of ``tokens`` tokens, in microseconds."""

    model: str
    num_experts: int
    tokens: int
    has_hooks: bool
    least_us: float
    median_us: float
    p90_us: float
    num_kernels: int


class _Count(TorchDispatchMode):
    """Count operators that start a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.num_kernels = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it if it starts a kernel."""
        if not any(word in str(func) for word in WITHOUT_KERNEL):
            self.num_kernels += 1
        return func(*args, **(kwargs or {}))


class _Engine:
    """Stand for the offloading engine, whose C++ calls take next to no time."""

    def __init__(self) -> None:
        self.held: set[int] = set()

    def touch(self, tensor: torch.Tensor) -> None:
        """Take a tensor out of the set of offloaded ones and put it back, as begin and end do."""
        place = tensor.data.data_ptr()
        self.held.discard(place)
        self.held.add(place)


def add_hooks(block: nn.Module) -> None:
    """Give every module a hook before and after its forward pass.

    Each hook goes over the module's own parameters and buffers.
    """
    engine = _Engine()

    def before(module: nn.Module, arguments: Any, keywords: Any) -> None:
        """Begin with each tensor of the module, as the engine does before a forward pass."""
        with torch.no_grad():
            # The engine's hooks collect devices, so this stand-in spends the time on it as well.
            devices = []
            for _, tensor in module.named_parameters(recurse=False):
                engine.touch(tensor)
                devices.append(tensor.data.device)
            for _, buffer in module.named_buffers(recurse=False):
                engine.touch(buffer)

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        """End with each tensor of the module, as the engine does after a forward pass."""
        with torch.no_grad():
            devices = []
            for tensor in module.parameters(recurse=False):
                engine.touch(tensor)
                devices.append(tensor.data.device)
            for buffer in module.buffers(recurse=False):
                engine.touch(buffer)

    for module in block.modules():
        module.register_forward_pre_hook(before, with_kwargs=True)
        module.register_forward_hook(after)


def blocks() -> Iterator[tuple[str, int, nn.Module]]:
    """Yield three models: name, number of experts, and an MoE block whose other sizes are tiny."""
    sizes = {"hidden_size": HIDDEN, "intermediate_size": HIDDEN}
    few = sizes | {"num_experts_per_tok": 2}
    yield "mixtral-8x7b", 8, _block("mixtral", "Mixtral", few | {"num_local_experts": 8})
    yield "phi-3.5-moe", 16, _block("phimoe", "Phimoe", few | {"num_local_experts": 16})
    own = {"moe_intermediate_size": HIDDEN, "shared_expert_intermediate_size": HIDDEN}
    qwen = sizes | own | {"num_experts": 60, "num_experts_per_tok": 4}
    yield "qwen1.5-moe-a2.7b", 60, _block("qwen2_moe", "Qwen2Moe", qwen)


def _block(folder: str, name: str, sizes: dict[str, int]) -> nn.Module:
    """Build the MoE block of a transformers family; its classes are looked up by name."""
    package = f"transformers.models.{folder}"
    config = getattr(import_module(f"{package}.configuration_{folder}"), f"{name}Config")
    module = import_module(f"{package}.modeling_{folder}")
    block: nn.Module = getattr(module, f"{name}SparseMoeBlock")(config(**sizes))
    return block


def measure(
    name: str, num_experts: int, block: nn.Module, tokens: int, *, has_hooks: bool
) -> HostTime:
    """Time one block for one pass of ``tokens`` tokens."""
    given = torch.randn(1, tokens, HIDDEN)
    # Counted in a call of its own, because counting slows a call.
    with torch.no_grad(), _Count() as count:
        block(given)
    each_us = _times_us(lambda: block(given))
    return HostTime(
        model=name,
        num_experts=num_experts,
        tokens=tokens,
        has_hooks=has_hooks,
        least_us=round(float(each_us.min()), 1),
        median_us=round(float(np.median(each_us)), 1),
        p90_us=round(float(np.quantile(each_us, 0.9)), 1),
        num_kernels=count.num_kernels,
    )


def _times_us(call: Callable[[], object]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the process time of a call in microseconds: a mean over NUM_CALLS for each repeat."""
    found = []
    with torch.no_grad():
        call()
        for _ in range(NUM_REPEATS):
            # Process time leaves out what other programs take of the core.
            start = time.process_time_ns()
            for _ in range(NUM_CALLS):
                call()
            found.append((time.process_time_ns() - start) / NUM_CALLS / NS_PER_US)
    return np.array(found)


def main() -> None:
    """Measure every block and print the times as CSV."""
    # Process time adds up over threads, so there is one.
    torch.set_num_threads(1)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([field.name for field in fields(HostTime)])
    for has_hooks in (False, True):
        for name, num_experts, block in blocks():
            if has_hooks:
                add_hooks(block)
            for tokens in TOKENS:
                found = measure(name, num_experts, block.eval(), tokens, has_hooks=has_hooks)
                writer.writerow(astuple(found))


if __name__ == "__main__":
    main()
