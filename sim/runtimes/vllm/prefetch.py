"""Copies of whole layers beside the GPU's work (vLLM's model_executor/offloader/prefetch.py).

Behind each copied layer begins the copy of the one ``prefetch_step`` further on, around the end of
the pass too. Copies go one after another. A layer waits for its copy. The pass waits for all
copies, since its graph joins the stream of copies.
"""

from collections.abc import Mapping
from dataclasses import replace

from sim.model.model import Model
from sim.runtimes.prices import Seconds
from sim.runtimes.vllm.arguments import VllmArguments
from sim.runtimes.vllm.placement import copied_layer_bytes, grouped_layers


def beside_copies(
    seconds: Seconds, model: Model, arguments: VllmArguments, num_passes: int
) -> Seconds:
    """Return the seconds of ``num_passes`` equal passes, without copies that the work hides.

    The GPU's work is taken to be spread evenly over the layers.
    """
    layers = grouped_layers(model, arguments)
    if not layers or not float(seconds.upload):
        return seconds
    work_s = float(seconds.total - seconds.upload) / num_passes
    sizes = copied_layer_bytes(model, arguments)
    rate = sum(sizes) * num_passes / float(seconds.upload)
    copies = {layer: size / rate for layer, size in zip(layers, sizes, strict=True)}
    whole_s = pass_seconds(work_s / model.num_layers, model.num_layers, copies, arguments)
    return replace(seconds, upload=num_passes * (whole_s - work_s))


def pass_seconds(
    layer_s: float, num_layers: int, copies: Mapping[int, float], arguments: VllmArguments
) -> float:
    """Return the seconds of one pass, in which each layer works for ``layer_s``.

    ``copies`` maps each copied layer to the seconds of its copy.
    """
    order = sorted(copies)
    # The first copies have ended with the pass before.
    ready = dict.fromkeys(order, 0.0)
    clock = 0.0
    link = 0.0
    for layer in range(num_layers):
        clock = max(clock, ready.get(layer, 0.0)) + layer_s
        if layer in copies:
            place = (order.index(layer) + arguments.prefetch_step) % len(order)
            link = max(clock, link) + copies[order[place]]
            # What is behind this layer belongs to the next pass.
            if order[place] > layer:
                ready[order[place]] = link
    return max(clock, link)
