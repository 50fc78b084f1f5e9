"""Traces made by a generator, whose statistics can be compared with those of a recording."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.model.model import Model
from sim.routing.fitted import FittedRouting
from sim.routing.library import load_routing, load_spec
from sim.routing.recorded import RecordedRouting
from sim.routing.spec import RoutingSpec
from sim.routing.trace_file import load_trace

NUM_SEQUENCES, NUM_TOKENS = 8, 1024
"""Number of sequences, and of tokens in each, where the statistics do not say what to generate."""


def sample(routing: FittedRouting, lengths: NDArray[np.int64], seed: int) -> RecordedRouting:
    """Return generated sequences of these lengths in tokens, one after another, as a trace."""
    draw = routing.draw_lengths(lengths, seed)
    return RecordedRouting(
        name=routing.label,
        expert_ids=draw.ids[0],
        num_experts=routing.numbers.inclusion.shape[2],
        weights=None if draw.weights is None else draw.weights[0],
        sequence_num_tokens=np.asarray(lengths, np.int64),
    )


def generated_trace(spec: RoutingSpec, seed: int) -> RecordedRouting:
    """Return a trace of a fitted generator; its sequences are as long as those fitted to."""
    routing = spec.routing()
    assert isinstance(routing, FittedRouting)
    return sample(routing, np.array(routing.numbers.sequence_num_tokens), seed)


def trace_of(source: str, model: Model | None, seed: int) -> RecordedRouting:
    """Return the trace that ``source``, a ``--routing`` value, stands for: recorded or generated.

    The statistics of a fitted file give sequences as long as those that they were fitted to. Other
    statistics need ``model`` and give 8 sequences of 1,024 tokens. Raises InputError.
    """
    path = Path(source)
    if path.suffix == ".npz":
        trace = load_trace(path)
        if model is not None:
            # Asked for its error alone: it raises where trace and model do not fit.
            trace.popularity(model)  # raises where they do not fit
        return trace
    if path.suffix in {".yaml", ".yml"}:
        spec = load_spec(path)
        routing = spec.routing()
        if spec.generator is not None:
            if model is not None:
                routing.popularity(model)
            return generated_trace(spec, seed)
    if model is None:
        raise InputError(
            f"{source}: statistics without a fitted generator do not say for which layers; name the model with `model`"
        )
    draw = load_routing(source, model).draw(model, NUM_SEQUENCES, NUM_TOKENS, seed)
    shape = (-1, *draw.ids.shape[2:])
    return RecordedRouting(
        name=path.stem,
        expert_ids=draw.ids.reshape(shape),
        num_experts=model.num_experts,
        weights=None if draw.weights is None else draw.weights.reshape(shape),
        sequence_num_tokens=np.full(NUM_SEQUENCES, NUM_TOKENS),
    )
