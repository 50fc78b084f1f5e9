"""Record the routing of a Hugging Face MoE model with hooks on its routers, as a trace file.

Shapes: T tokens of a sequence, J experts, K experts a token.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.routing.recorded import RecordedRouting
from sim.routing.trace_file import make_trace, save_trace

ROUTER_NAMES = ("gate", "router")
"""Names of the routers in Hugging Face's MoE blocks."""


def record_routing(
    model: torch.nn.Module,
    sequences: Sequence[Sequence[int]],
    *,
    top_k: int,
    name: str,
    path: Path | None = None,
) -> RecordedRouting:
    """Run each sequence of token ids once and record which experts its routers rank highest.

    Gate weights are the softmax over all experts, not renormalised. Routers are modules named
    ``gate`` or ``router`` that yield one logit for each expert; they are taken in the order of the
    model. Models whose selection is not the top-k of these logits (grouped, biased or sigmoid
    routing) are recorded as if it were. Raises InputError if there is no router, or if layers
    differ.
    """
    routers = find_routers(model)
    if not routers:
        raise InputError(
            f"{name}: no module named {' or '.join(ROUTER_NAMES)}: not an MoE model of a known kind"
        )
    device = next(model.parameters()).device
    ids = []
    weights = []
    for tokens in sequences:
        with _logits_of(routers) as logits, torch.no_grad():
            model(input_ids=torch.tensor([list(tokens)], device=device))
        chosen = [
            _selected(logits.get(index), len(tokens), top_k, f"{name}: router {index}")
            for index in range(len(routers))
        ]
        ids.append(np.stack([layer_ids for layer_ids, _ in chosen], axis=1))
        weights.append(np.stack([layer_weights for _, layer_weights in chosen], axis=1))
    arrays: dict[str, NDArray[Any]] = {
        "expert_ids": np.concatenate(ids),
        "gate_weights": np.concatenate(weights),
        "sequence_num_tokens": np.array([len(tokens) for tokens in sequences]),
        "token_ids": np.concatenate([np.array(tokens) for tokens in sequences]),
        "num_experts": np.array(_num_experts(logits, name)),
    }
    trace = make_trace(arrays, name=name, where=name)
    if path is not None:
        save_trace(trace, path)
    return trace


def find_routers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The routers, in the order of the model."""
    return [
        module for path, module in model.named_modules() if path.rpartition(".")[2] in ROUTER_NAMES
    ]


@contextmanager
def _logits_of(routers: Sequence[torch.nn.Module]) -> Iterator[dict[int, torch.Tensor]]:
    """Give a mapping that each router fills with its logits while the context lasts.

    If a router yields a tuple, its first tensor holds the logits.
    """
    found: dict[int, torch.Tensor] = {}

    def keep(index: int) -> Any:
        """Return a hook that keeps the logits of that router."""

        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            """Keep the logits that the module yields."""
            logits = output[0] if isinstance(output, tuple) else output
            # Copied off the accelerator at once: a long recording would fill its memory.
            found[index] = logits.detach().float().reshape(-1, logits.shape[-1]).cpu()

        return hook

    handles = [router.register_forward_hook(keep(index)) for index, router in enumerate(routers)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _selected(
    logits_TJ: torch.Tensor | None, num_tokens: int, top_k: int, where: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return expert ids and weights [token, rank]. Raises InputError if the logits do not fit."""
    # A module named gate may be something else, such as the gate of a feed-forward.
    if logits_TJ is None or logits_TJ.shape[0] != num_tokens or logits_TJ.shape[1] < top_k:
        found = "nothing" if logits_TJ is None else tuple(logits_TJ.shape)
        raise InputError(
            f"{where} must yield a logit for each of {num_tokens} tokens and at least {top_k} experts, got {found}"
        )
    weights_TK, ids_TK = torch.softmax(logits_TJ, dim=1).topk(top_k, dim=1)
    return ids_TK.numpy(), weights_TK.numpy()


def _num_experts(logits: dict[int, torch.Tensor], name: str) -> int:
    counts = sorted({tensor.shape[1] for tensor in logits.values()})
    if len(counts) != 1:
        raise InputError(f"{name}: routers must all choose among as many experts, got {counts}")
    return int(counts[0])
