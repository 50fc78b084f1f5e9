"""Find what a decoder's router will select, by a plain forward pass before the run.

Predictors of stated accuracy need these selections beforehand.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwprofiles import Kind, Provenance
from sim.costs.memory import Residency
from sim.model.model import Model
from sim.policies.foresight import Foresight
from sim.policies.problem import Problem
from sim.routing.base import Draw, Routing, tokens_per_expert
from sim.workload.batch import Batch, Feeding, Passes, forward_passes
from validation.backend.plain import plain_forward
from validation.backend.weights import Weights

MOST_OTHERS = 8
"""Most earlier requests that a system is shown; each of them costs a plain forward pass."""

_OTHER_SEED = 1_000_003


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal(Routing):
    """The routing of a batch by the decoder's own router: ``own_ids`` [sequence, token, MoE layer,
    rank].

    ``known`` [MoE layer, expert] is the popularity that placements were told. Earlier requests are
    rehearsed when they are asked for.
    """

    weights: Weights
    batch: Batch
    seed: int
    own_ids: NDArray[np.int16]
    known: NDArray[np.float64] = field(repr=False)

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Return the batch's own experts, whatever is asked for."""
        return self.own_ids

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """Return the popularity that placements were told."""
        return self.known

    def other_requests(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int, *, used: tuple[int, int]
    ) -> Draw:
        """Return the experts of random prompts, of at most MOST_OTHERS requests."""
        return Draw(ids=self._other_ids[:num_sequences, :num_tokens], weights=None)

    @cached_property
    def _other_ids(self) -> NDArray[np.int16]:
        batch = replace(self.batch, batch_size=MOST_OTHERS, beams=1)
        # Another seed than the batch's: predictors must not be shown the very requests to come.
        prompts_SL = random_prompts(self.weights, batch, self.seed + _OTHER_SEED)
        return plain_forward(
            self.weights, batch, forward_passes(batch, Feeding()), prompts_SL
        ).expert_ids

    @property
    def provenance(self) -> Provenance:
        """Return the provenance: measured, by a plain forward pass in this run."""
        return Provenance(
            kind=Kind.MEASURED,
            source=f"plain forward pass of {self.weights.architecture.name}",
            date="this run",
        )

    @property
    def description(self) -> str:
        """Describe the routing in a few words."""
        return "the router's own choices, from a plain forward pass"


def rehearse(weights: Weights, problem: Problem, prompts_SL: Tensor, seed: int) -> Rehearsal:
    """Run the batch in a plain forward pass, and return its routing.

    The experts that a token selects do not depend on how the batch is fed.
    """
    passes = forward_passes(problem.batch, Feeding())
    own_ids = plain_forward(weights, problem.batch, passes, prompts_SL).expert_ids
    known = problem.popularity[list(problem.model.moe_layers)]
    return Rehearsal(weights=weights, batch=problem.batch, seed=seed, own_ids=own_ids, known=known)


def foresight_of(
    problem: Problem, residency: Residency, passes: Passes, rehearsal: Rehearsal
) -> Foresight:
    """Return what prefetchers may look at, from a rehearsal.

    The counts of tokens are a new array.
    """
    return Foresight(
        problem=problem,
        residency=residency,
        routing=rehearsal,
        passes=passes,
        tokens=tokens_per_expert(problem.model, rehearsal.own_ids, passes),
        expert_ids=rehearsal.own_ids,
        seed=rehearsal.seed,
    )


def random_prompts(weights: Weights, batch: Batch, seed: int) -> Tensor:
    """Token ids [sequence, position] drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        weights.architecture.vocab, (batch.batch_size, batch.prompt_tokens), generator=generator
    )
