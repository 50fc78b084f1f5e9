"""The measured curve that prices an operation, found by the shape that a curve states and a model
has.
"""

from collections.abc import Mapping

from hwprofiles import Curve, Machine, Operation
from sim.model.model import Attention, Model, State, TensorClass

Shape = dict[str, int]


def expert_shape(model: Model) -> Shape:
    """The shape of a routed expert."""
    return {"hidden": model.hidden, "intermediate": model.expert_intermediate}


def ffn_shape(model: Model, layer: int, which: TensorClass) -> Shape | None:
    """Return the shape of a layer's shared experts together, or of its dense feed-forward.

    It is None where the weights are not three matrices (and the gate of shared experts).
    """
    params = model.layers[layer].params.get(which, 0)
    intermediate, rest = divmod(params, 3 * model.hidden)
    return (
        {"hidden": model.hidden, "intermediate": intermediate}
        if intermediate and rest in (0, model.hidden)
        else None
    )


def gate_shape(model: Model, layer: int) -> Shape:
    """The shape of the router and the choice among its logits."""
    spec = model.layers[layer]
    return {"hidden": model.hidden, "experts": spec.num_experts, "top_k": spec.top_k}


def head_shape(model: Model) -> Shape:
    """The shape of the last norm and the vocabulary projection."""
    return {"hidden": model.hidden, "vocab": model.vocab}


def norm_shape(model: Model) -> Shape:
    """The shape of one norm."""
    return {"hidden": model.hidden}


def attention_shape(
    hidden: int, attention: Attention, params: int, state: State | None = None
) -> Shape:
    """Return the shape of a layer's attention with its projections, which have ``params`` weights.

    A curve also has the key ``sequences``, the number of sequences, which is left out here.
    """
    shape = {
        "hidden": hidden,
        "heads": attention.num_heads,
        "kv_elements": attention.kv_elements_per_token,
        "score_elements": attention.score_elements,
        "value_elements": attention.value_elements,
        "params": params,
    }
    more = {
        "window_tokens": attention.window_tokens,
        "tokens_per_entry": attention.tokens_per_entry,
        "indexed_entries": None if attention.indexer is None else attention.indexer.top_k,
        "state_elements": None if state is None else state.elements,
    }
    return shape | {name: size for name, size in more.items() if size}


def find_curve(
    machine: Machine,
    operation: Operation,
    device: str,
    dtype: str | None,
    shape: Mapping[str, int] | None,
) -> Curve | None:
    """Return the first curve of that operation, device, format (None: any) and shape, measured with
    as many threads as the machine computes with.

    It is None if there is no such curve.
    """
    # Measured with another number of threads, a curve tells nothing of these.
    for curve in machine.curves:
        is_same = (
            curve.operation is operation
            and curve.device == device
            and curve.shape == shape
            and dtype in (None, curve.dtype)
        )
        if is_same and curve.threads in (None, machine.cpu.threads):
            return curve
    return None


def attention_curves(machine: Machine, model: Model, device: str, layer: int) -> list[Curve]:
    """Return the curves of a layer's attention, decode and prefill, for any number of sequences;
    none where the layer has no attention.
    """
    spec = model.layers[layer]
    if spec.attention is None:
        return []
    shape = attention_shape(
        model.hidden, spec.attention, spec.params.get(TensorClass.ATTENTION, 0), spec.state
    )
    kinds = (Operation.ATTENTION_DECODE, Operation.ATTENTION_PREFILL)
    dtype = model.dtype(TensorClass.ATTENTION)
    return [
        curve
        for curve in machine.curves
        if curve.operation in kinds
        and curve.device == device
        and curve.dtype == dtype
        and curve.threads in (None, machine.cpu.threads)
        and "sequences" in curve.shape
        and {key: size for key, size in curve.shape.items() if key != "sequences"} == shape
    ]
