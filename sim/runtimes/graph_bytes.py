"""Bytes of the buffers in which a program computes a micro-batch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBytes:
    """Bytes of the widest ``stage`` of a layer, and of the ``inputs`` that last beside it on every
    device; ``host_inputs`` are those of the host, and ``host_stage`` is what it holds beside them
    where GPUs have all layers.
    """

    stage: int
    inputs: int
    host_inputs: int
    host_stage: int
