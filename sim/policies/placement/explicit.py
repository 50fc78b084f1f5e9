"""A placement that names its experts, as a plan file does."""

from dataclasses import dataclass, field

import numpy as np

from hwprofiles import InputError
from sim.costs.memory import Infeasible, MemoryRule, Residency
from sim.model.model import Model
from sim.policies.placement.base import Placement
from sim.policies.placement.fitting import (
    bytes_by_gpu,
    expert_budgets,
    host_checked,
)
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplicitPlacement(Placement):
    """Puts the named ``experts`` of each layer on the GPU, and all dense parts."""

    experts: tuple[tuple[int, ...], ...]
    memory: MemoryRule = field(default_factory=MemoryRule)

    def check(self, model: Model) -> None:
        """Raise InputError for a layer or expert that the model does not have."""
        if len(self.experts) != model.num_layers:
            raise InputError(
                f"placement names {len(self.experts)} layers, {model.name} has {model.num_layers}"
            )
        for layer, experts in enumerate(self.experts):
            wrong = [
                expert for expert in experts if not 0 <= expert < model.layers[layer].num_experts
            ]
            if wrong:
                raise InputError(
                    f"placement: layer {layer} has no expert {wrong[0]}; it has {model.layers[layer].num_experts}"
                )

    def place(self, problem: Problem) -> Residency | Infeasible:
        """Place the experts named. Raises InputError for a layer or expert that the model does not have."""
        model = problem.model
        self.check(model)
        chosen = np.zeros((model.num_layers, model.num_experts), bool)
        for layer, experts in enumerate(self.experts):
            chosen[layer, list(experts)] = True
        dense = np.ones(model.num_layers, bool)
        budgets = expert_budgets(problem, self.memory, dense)
        if isinstance(budgets, Infeasible):
            return budgets
        # A plan may have been made for a larger GPU.
        over = max(
            needed - budget
            for needed, budget in zip(bytes_by_gpu(problem, chosen), budgets, strict=True)
        )
        if over > 0:
            return Infeasible(
                reason="the experts of this placement do not fit GPU memory", missing_bytes=over
            )
        residency = Residency(
            experts=chosen, dense=dense, has_head=True, has_embedding=self.memory.is_eager
        )
        return host_checked(problem, residency)
