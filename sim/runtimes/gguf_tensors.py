"""The tensors of a GGUF file by layer, each with its own bytes."""

import re
from pathlib import Path

from hwprofiles import InputError
from sim.model.importers.gguf_file import read_header
from sim.model.importers.gguf_tensors import block_index, class_of
from sim.model.model import Model, TensorClass
from sim.runtimes.tensors import LayerTensor, TensorPart, TensorTable
from sim.runtimes.tensors import tensors_of as shared_out

_PARTS = (
    (TensorPart.EXPERT_GATE, re.compile(r"ffn_gate(_up)?_(ch)?exps\b")),
    (TensorPart.EXPERT_UP, re.compile(r"ffn_up_(ch)?exps\b")),
    (TensorPart.EXPERT_DOWN, re.compile(r"ffn_down_(ch)?exps\b")),
    (TensorPart.ROUTER, re.compile(r"ffn_gate_inp\b|exp_probs_b|ffn_norm|post_attention_norm")),
    (TensorPart.FEED_FORWARD, re.compile(r"ffn_")),
)
"""Patterns of names by part: the first that a name starts with decides.

All other tensors are attention's.
"""

_ORDER = tuple(TensorPart)


def tensors_of(model: Model, path: str, quantization: str | None) -> TensorTable:
    """Return the tensors of the model's own GGUF file, or else tensors that share out its classes.

    ``path`` is where the model is from. ``quantization`` None stands for the file's own weights.
    """
    # Another quantisation is another file; only the bytes of its classes are known.
    if path.endswith(".gguf") and quantization is None:
        return tensors_of_file(Path(path), model.num_layers)
    return shared_out(model)


def tensors_of_file(path: Path, num_layers: int) -> TensorTable:
    """Return the tensors of the first ``num_layers`` layers, each layer's in the order of work.

    Layers beyond those predict several tokens, which a plan leaves out. Lookup tables are left out
    too, since a token reads only some of their rows. Raises InputError for a file that is not GGUF.
    It also refuses one whose experts are stored one by one, which no override of today's programs
    finds.
    """
    layers: list[list[LayerTensor]] = [[] for _ in range(num_layers)]
    for tensor in read_header(path).tensors:
        index = block_index(tensor.name)
        if index is None or index >= num_layers or class_of(tensor.name) is TensorClass.LOOKUP:
            continue
        rest = tensor.name.split(".", 2)[2]
        if re.match(r"ffn_(gate|up|down)\.\d+\.", rest):
            raise InputError(
                f"{path}: experts are stored one by one, which llama.cpp reads no more"
            )
        layers[index].append(LayerTensor(tensor.name, _part(rest), tensor.num_bytes))
    for tensors in layers:
        # Files list tensors as they were written, while crossings are counted in the order of work;
        # the sort is stable, so tensors of one part keep their order.
        tensors.sort(key=lambda own: _ORDER.index(own.part))
    return tuple(map(tuple, layers))


def _part(rest: str) -> TensorPart:
    return next((part for part, pattern in _PARTS if pattern.match(rest)), TensorPart.ATTENTION)
