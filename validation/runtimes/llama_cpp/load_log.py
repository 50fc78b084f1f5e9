"""Read llama.cpp's log of loading a file: buffers by device, overridden tensors, graph nodes."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from hwprofiles.units import MIB

_BUFFER = re.compile(r"(\S+) (model|KV|compute) buffer size\s*=\s*(\d+(?:\.\d+)?) MiB")
_OVERRIDDEN = re.compile(r"tensor (\S+) \(.*?\) buffer type overridden to (\S+)")
# Builds differ in how they word this line.
_NODES = re.compile(r"graph: nodes = (\d+)|graph nodes\s*=\s*(\d+)")

HOST_BUFFERS = re.compile(r"CPU|.*_Host$")
"""Names of buffers in host memory: CPU, CPU_REPACK, CPU_Mapped, CUDA_Host and the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLog:
    """Bytes of weights, KV cache and computing by buffer, and nodes of the graph of one step.

    ``overridden`` has the buffer of each tensor that an override moves.
    """

    weights: Mapping[str, float]
    kv: Mapping[str, float]
    compute: Mapping[str, float]
    overridden: Mapping[str, str]
    num_nodes: int | None

    def weight_bytes(self, devices: tuple[str, ...]) -> list[float]:
        """Bytes of weights in host memory, then on each of those devices."""
        host = sum(size for name, size in self.weights.items() if HOST_BUFFERS.match(name))
        return [host, *(self.weights.get(name, 0.0) for name in devices)]


def read_load_log(text: str) -> LoadLog:
    """Read the log. The last stated size of each buffer counts."""
    sizes: dict[str, dict[str, float]] = defaultdict(dict)
    for name, kind, number in _BUFFER.findall(text):
        sizes[kind][name] = float(number) * MIB
    nodes = [int(first or second) for first, second in _NODES.findall(text)]
    return LoadLog(
        weights=sizes["model"],
        kv=sizes["KV"],
        compute=sizes["compute"],
        overridden=dict(_OVERRIDDEN.findall(text)),
        num_nodes=nodes[-1] if nodes else None,
    )
