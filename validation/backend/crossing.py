"""Tensors that cross between host and accelerator, or between streams of one."""

import torch
from torch import Tensor

ON_HOST = torch.device("cpu")


def brought(tensor: Tensor, place: torch.device) -> Tensor:
    """Return a copy of the tensor in that place, in the order of the calling thread's stream.

    A copy from the accelerator to the host lands in page-locked memory.
    """
    # An emulated accelerator shares the host's memory: this copy is its transfer.
    if tensor.device == place:
        return tensor.clone()
    if place.type == "cpu":
        # Only into page-locked memory does a copy run beside its launching thread.
        landing = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return landing.copy_(tensor, non_blocking=True)
    return tensor.to(place, non_blocking=True)


def kept(tensor: Tensor) -> Tensor:
    """Return the tensor, whose memory is not reused before the calling thread's stream gets
    here.
    """
    if tensor.is_cuda:
        tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return tensor
