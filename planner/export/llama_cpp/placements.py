"""Placements of expert matrices as overrides: the patterns of ``-ot`` that put them on a plan's
devices.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from planner.export.llama_cpp.layer_patterns import layer_pattern
from sim.model.model import Model
from sim.runtimes.llama_cpp.overrides import EXPERTS, Override
from sim.runtimes.tensors import EXPERT_PARTS, TensorPart

MATRIX_NAMES: Mapping[frozenset[TensorPart], str] = {
    frozenset(EXPERT_PARTS): "(up|down|gate|gate_up)",
    frozenset({TensorPart.EXPERT_GATE, TensorPart.EXPERT_UP}): "(up|gate|gate_up)",
    frozenset({TensorPart.EXPERT_GATE, TensorPart.EXPERT_DOWN}): "(down|gate|gate_up)",
    frozenset({TensorPart.EXPERT_UP, TensorPart.EXPERT_DOWN}): "(up|down)",
    frozenset({TensorPart.EXPERT_GATE}): "(gate|gate_up)",
    frozenset({TensorPart.EXPERT_UP}): "up",
    frozenset({TensorPart.EXPERT_DOWN}): "down",
}
"""Names of matrices in a pattern. Files that store gate and up as one matrix keep it with gate."""

MatrixDevices = Sequence[tuple[int, int, int]]
"""Devices of each layer's matrices gate, up and down."""


def expert_overrides(
    model: Model, homes: Sequence[int], devices: MatrixDevices
) -> tuple[Override, ...]:
    """Return the overrides that place the expert matrices that are not on their layer's device.

    ``homes`` [layer] is the device of each layer, ``devices`` [layer] those of its expert matrices.
    Each group of layers with the same matrices on the same device is one override. No two overrides
    find the same tensor, so their order does not matter.
    """
    groups: dict[tuple[int, frozenset[TensorPart]], list[int]] = defaultdict(list)
    for layer in model.moe_layers:
        moved = defaultdict(set)
        for part, device in zip(EXPERT_PARTS, devices[layer], strict=True):
            if device != homes[layer]:
                moved[device].add(part)
        for device, parts in moved.items():
            groups[device, frozenset(parts)].append(layer)
    return tuple(
        Override(pattern=_pattern(model, layers, parts), device=device)
        for (device, parts), layers in groups.items()
    )


def _pattern(model: Model, layers: Sequence[int], parts: frozenset[TensorPart]) -> str:
    # All experts of all layers have a pattern that names no layer, which stays short.
    if parts == frozenset(EXPERT_PARTS) and len(layers) == len(model.moe_layers):
        return EXPERTS
    return rf"blk\.{layer_pattern(layers)}\.ffn_{MATRIX_NAMES[parts]}_(ch|)exps"
