"""Routing for fMoE's models, as far as it is known: one set of statistics for all three.

Nobody has published how Qwen1.5-MoE or Phi-3.5-MoE route, and of Mixtral only how often experts
repeat. So the statistics are those measured on DeepSeek-V2-Lite's chat. These statistics are
carried over as excess over chance, (share - chance) / (1 - chance). The excess of reusing an active
expert 1, 2, 4, 16, 128 tokens later is .185, .115, .084, .061, .040. That of recalling the next
layers' experts from this layer's is .42; the same token recalls experts with .26.

What counts most for fMoE is how much of an iteration its nearest stored map foretells. Searched as
fMoE does, that is .52 to .69 of the experts on DeepSeek-V2-Lite's three traces, and .59 on this
generator of that shape (tests/validation/test_published_fmoe.py).
"""

import numpy as np

from hwprofiles import Kind, Provenance
from sim.model.model import Model
from sim.policies.prefetch.next_gate import mixtral_accuracy
from sim.routing.fitted import FittedRouting
from sim.routing.fitted_numbers import FittedNumbers
from sim.routing.stated import Accuracy

NUM_CLASSES = 16
"""Number of kinds of context; tokens of one kind route alike."""
SHARPNESS = 3.5
"""Standard deviation of the logarithm of a kind's preference for an expert."""
REQUEST_SPREAD = 0.5
COPIED = 0.05
COPY_KERNEL = (0.5, 0.25, 0.15, 0.1)
CLASS_KEPT = (0.22, 0.10, 0.06, 0.05, *(3 * (0.0,)), 0.04, *(7 * (0.0,)), 0.04)
"""Share of tokens that keep the kind of an earlier token, by lag from 1 on.

The share is above 0 at lags of 1, 2, 3, 4, 8 and 16 tokens.
"""
EMBEDDED_FRACTION = 0.65
"""Share of tokens whose embedding tells their kind.

With it the same token, by its embedding, recalls about .26.
"""
MAX_INCLUSION = 0.98
STRUCTURE_SEED = 7

QWEN_NEXT_GATE = 0.669
"""Share of experts that a gate of Qwen2 names from the hidden state one layer earlier.

Source: ProMoE, arXiv 2410.22134.
"""
MAX_DISTANCE = 6

SOURCE = Provenance(
    kind=Kind.ASSUMED,
    source="statistics of DeepSeek-V2-Lite's chat routing, carried over as excess over chance; what hidden states foretell: "
    "AdapMoE (arXiv 2408.10284) for Mixtral, taken for Phi; ProMoE (arXiv 2410.22134) for Qwen; to the power of the distance",
    date="2026-11",
)


def structured_routing(model: Model, sharpness: float = SHARPNESS) -> FittedRouting:
    """Return the generator for that model.

    A larger ``sharpness`` makes tokens of one kind, and so iterations, more alike.
    """
    layers = len(model.moe_layers)
    share = np.full(NUM_CLASSES, 1.0 / NUM_CLASSES)
    return FittedRouting(
        label="DeepSeek-V2-Lite's statistics carried over",
        stated_provenance=SOURCE,
        numbers=FittedNumbers(
            top_k=model.top_k,
            class_share=share,
            inclusion=_inclusion(model, sharpness),
            class_kept=np.array(CLASS_KEPT),
            class_chain=np.tile(share, (NUM_CLASSES, 1)),
            copy_kernel=np.array(COPY_KERNEL),
            copied=np.full(layers, COPIED),
            request_spread=np.full(layers, REQUEST_SPREAD),
            drift_spread=np.zeros(layers),
            drift_tokens=1.0,
            linked_fraction=0.0,
        ),
        accuracy=next_gate_accuracy(model),
        embedded_fraction=EMBEDDED_FRACTION,
    )


def next_gate_accuracy(model: Model) -> Accuracy:
    """Return the share that a gate foretells from an earlier hidden state, by distance and MoE
    layer.

    The first layers have no gate that far before them.
    """
    first = (
        np.full(len(model.moe_layers), QWEN_NEXT_GATE)
        if model.name.startswith("qwen")
        else mixtral_accuracy(len(model.moe_layers))
    )
    return tuple(
        (
            distance,
            tuple(
                None if layer < distance else float(share**distance)
                for layer, share in enumerate(first)
            ),
        )
        for distance in range(1, MAX_DISTANCE + 1)
    )


def _inclusion(model: Model, sharpness: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the share of a kind's tokens that select an expert: [kind, layer, expert].

    Over all kinds, experts are nearly equally popular.
    """
    shape = (NUM_CLASSES, len(model.moe_layers), model.num_experts)
    weight = np.exp(sharpness * np.random.default_rng(STRUCTURE_SEED).standard_normal(shape))
    # Divided by the mean over kinds, so that no expert is popular with all of them.
    inclusion = weight / weight.mean(axis=0)
    # Scaling to top-k experts and capping pull against each other; both hold after some rounds.
    for _ in range(30):
        inclusion *= model.top_k / inclusion.sum(axis=2, keepdims=True)
        inclusion = np.minimum(inclusion, MAX_INCLUSION)
    return np.asarray(inclusion)
