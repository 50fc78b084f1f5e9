"""The most popular experts, until a prompt shows which experts it needs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.costs.memory import Residency
from sim.policies.placement.popularity import PopularityPlacement
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPlacement(PopularityPlacement):
    """Places experts by popularity over all layers. After a prompt each layer holds as many as
    before: those that the prompt's tokens selected most.

    This is KTransformers' dynamic expert update. Ties, and experts that no token selected, go by
    the lower number, whatever their popularity. Prompts of fewer than ``min_prompt_tokens`` tokens,
    all prompts of the batch together, move nothing. The default of 512 is that of the documented
    command.
    """

    min_prompt_tokens: int = 512

    def __post_init__(self) -> None:
        PopularityPlacement.__post_init__(self)
        check_at_least(self, min_prompt_tokens=0)

    is_remade = True

    def after_prompt(
        self, problem: Problem, residency: Residency, tokens: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return the experts that the prompt selected most [layer, expert], if it is long
        enough.
        """
        # Each token selects top_k experts, so that the selections of a layer count the tokens.
        if (
            tokens.max(initial=0) == 0
            or int(tokens.sum(axis=1).max()) < self.min_prompt_tokens * problem.model.top_k
        ):
            return residency.experts
        held = np.zeros_like(residency.experts)
        for layer in problem.model.moe_layers:
            count = int(residency.experts[layer].sum())
            best = np.argsort(
                -tokens[layer, : problem.model.layers[layer].num_experts], kind="stable"
            )[:count]
            held[layer, best] = True
        return held
