"""Experts that a long prompt almost surely needs, copied while their layer attends, before a gate
selects them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_above_zero, check_at_least
from sim.costs.memory import Residency
from sim.model.model import TensorClass
from sim.policies.prefetch.base import Prefetch
from sim.policies.problem import Problem
from sim.workload.batch import Passes


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyPrefetch(Prefetch):
    """Begins to copy experts before their gate, if a prompt's pass selects them with a probability
    of at least ``least_probability``.

    Of a layer's missing experts that are so sure, the copies of the most popular begin with the
    layer. There are as many copies as the link can begin until the gate is known. There are at most
    ``experts`` (None: any number), and no more than buffers of single experts. The probability
    takes tokens to choose independently, by popularity. Ties go to the lower expert. Residents have
    to stay.
    """

    experts: int | None = None
    least_probability: float = 0.98

    def __post_init__(self) -> None:
        check_at_least(self, experts=0)
        check_above_zero(self, "least_probability")

    # No gate names anything: copies begin before there is one.
    is_active = False

    def early(self, problem: Problem, residency: Residency, passes: Passes) -> NDArray[np.bool_]:
        """Return for each layer of a prompt the missing experts that it almost surely needs [pass,
        layer, expert].
        """
        model = problem.model
        found = np.zeros((len(passes), model.num_layers, model.num_experts), bool)
        # Passes of one size are equally sure of an expert.
        sizes, size_of = np.unique(passes.num_tokens, return_inverse=True)
        order = np.argsort(-problem.popularity, axis=1, kind="stable")
        for layer in model.moe_layers:
            missing = order[layer][
                ~residency.experts[layer, order[layer]]
                & (problem.popularity[layer, order[layer]] > 0)
            ]
            most = np.minimum(
                self._copies_while_attending(problem, layer, passes),
                problem.overlap.staging_experts,
            )
            if self.experts is not None:
                most = np.minimum(most, self.experts)
            each = np.minimum(1.0, model.layers[layer].top_k * problem.popularity[layer, missing])
            for number, size in enumerate(sizes):
                sure = missing[1.0 - (1.0 - each) ** int(size) >= self.least_probability]
                for index in (
                    np.flatnonzero((size_of.ravel() == number) & passes.is_prefill)
                    if sure.size
                    else ()
                ):
                    found[index, layer, sure[: most[index]]] = True
        return found

    @staticmethod
    def _copies_while_attending(problem: Problem, layer: int, passes: Passes) -> NDArray[np.int64]:
        """Return how many copies begin between the start of a layer and the end of its
        gate [pass].
        """
        costs = problem.costs
        where = (
            passes.num_tokens,
            passes.num_sequences,
            passes.first_position,
            passes.context_tokens,
        )
        lead_ns = costs.layer_overhead_ns() + costs.attention("gpu", layer, *where).ns
        lead_ns = lead_ns + costs.weights("gpu", layer, TensorClass.ROUTER, passes.num_tokens).ns
        copy_ns = int(
            costs.copy(
                "h2d", problem.model.layers[layer].expert_bytes, is_pinned=problem.overlap.is_pinned
            ).ns
        )
        return np.asarray(-(-lead_ns // max(1, copy_ns)), np.int64)
