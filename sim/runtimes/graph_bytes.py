"""Bytes of the buffers in which a program computes a micro-batch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBytes:
    """Bytes of the buffers for one micro-batch.

    ``stage`` is the widest stage of a layer. ``inputs`` last beside it on every GPU,
    ``host_inputs`` on the host. ``host_stage`` is what the host holds beside its inputs where GPUs
    have all layers.
    """

    stage: int
    inputs: int
    host_inputs: int
    host_stage: int
