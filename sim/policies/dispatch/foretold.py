"""Experts run by prediction, those on the CPU a layer ahead, as DAOP has it (arXiv 2501.10375)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least, check_shares
from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule
from sim.policies.foresight import Foresight, Foretold
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.step.rules.largest import list_largest


@dataclass(frozen=True, slots=True, kw_only=True)
class ForetoldDispatch(Dispatch):
    """Runs the layers of a decode step from ``first_layer`` on (counted from 0) by a prediction;
    their misses go to the CPU.

    The prediction is the layer's own gate on the hidden state of the layer before; it replaces the
    gate. A selected expert is named with the accuracy that the routing knows for (layer, distance
    1), else with ``accuracy``. Its default of 0.87 is AdapMoE's mean for Mixtral (arXiv
    2408.10284). For each expert that is not named, another runs, drawn in proportion to popularity.
    ``degrades``: if all experts predicted for a token lie on the CPU, the least weighted gives way
    to a resident.

    A prompt follows its gates. Its misses are split by ``believed_cost``, as in Fiddler's algorithm
    1.

    First layer, prompt rule and degradation are those of the released code,
    github.com/ecolab-nus/DAOP, for top-2 of Mixtral and Phi-3.5. Two things are assumed. Any top-k
    above 1 works in the same way. The resident is drawn in proportion to popularity: the code takes
    the one of the highest predicted weight, which is not simulated.
    """

    first_layer: int = 5
    accuracy: float = 0.87
    degrades: bool = True
    believed_cost: Source = "measured"

    def __post_init__(self) -> None:
        check_shares(self, "accuracy")
        # No layer precedes layer 0, which could predict it.
        check_at_least(self, first_layer=1)

    rule = Rule.CHEAPEST  # for prompts

    foretells = True
    foretells_in_parts = True

    def foretell(
        self,
        foresight: Foresight,
        index: int,
        held: NDArray[np.bool_],
        can_precede: NDArray[np.bool_],
    ) -> Foretold | None:
        """Return what a decode step runs by prediction; None for a prompt."""
        passes = foresight.passes
        moe_layers = np.array(foresight.problem.model.moe_layers)
        if passes.is_prefill[index]:
            return None
        layers = can_precede & (np.arange(len(can_precede)) >= self.first_layer)
        places = np.flatnonzero(layers[moe_layers])
        tokens = foresight.tokens[index].copy()
        if places.size:
            first = passes.first_sequence[index]
            rows = slice(passes.first_position[index], passes.context_tokens[index])
            ids = foresight.expert_ids[first : first + passes.num_sequences[index], rows]
            chosen = ids.reshape(-1, *ids.shape[2:])[:, places].astype(np.int64)
            # A generator for each pass: what it draws does not depend on the passes before it.
            number = index + (foresight.part_of.num_before if foresight.part_of else 0)
            generator = np.random.default_rng((foresight.seed, number))
            named = self._named(chosen, foresight, moe_layers[places], held, generator)
            tokens[moe_layers[places]] = 0
            np.add.at(tokens, (np.broadcast_to(moe_layers[places][:, None], named.shape), named), 1)
        return Foretold(tokens=tokens, layers=layers)

    def _named(
        self,
        chosen: NDArray[np.int64],
        foresight: Foresight,
        layers: NDArray[np.int64],
        held: NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return the experts that run [token, layer, rank], in place of the ``chosen`` ones that
        the gates would select.
        """
        gates = NextGatePrefetch(accuracy=self.accuracy, accuracy_source="routing")
        accuracy = foresight.once(("accuracy", gates), lambda: gates.accuracy_at(foresight, 1))[
            layers
        ]
        popularity = foresight.problem.popularity[layers]
        draw = generator.random((*chosen.shape[:2], popularity.shape[1])) ** (
            1.0 / np.maximum(popularity, 1e-12)
        )
        draw[np.broadcast_to(popularity <= 0, draw.shape)] = -1.0
        others = draw.copy()
        np.put_along_axis(others, chosen, -1.0, axis=2)
        is_right = generator.random(chosen.shape) < accuracy[:, None]
        order = np.empty(chosen.shape, np.int64)
        # A copy, as listing uses up what it lists.
        list_largest(others.copy().view(np.int64), order)
        # The first mistake of a token takes the largest of the others, the next the second.
        place = np.maximum(np.cumsum(~is_right, axis=2) - 1, 0)
        other = np.take_along_axis(order, place, axis=2)
        # Where no expert is left to mistake it for, it is right.
        is_right |= np.take_along_axis(others, other, axis=2) < 0
        named = np.where(is_right, chosen, other)
        if self.degrades and chosen.shape[2] > 1:
            resident = np.where(held[layers], draw, -1.0)
            is_absent = ~np.take_along_axis(
                np.broadcast_to(held[layers], draw.shape), named, axis=2
            ).any(axis=2)
            replaced = is_absent & (resident.max(axis=2) >= 0)
            named[:, :, -1] = np.where(replaced, resident.argmax(axis=2), named[:, :, -1])
        return named
