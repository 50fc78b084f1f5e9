"""Hits as the released code counts them: predicted selections, wherever the expert was."""

import numpy as np

from hwprofiles import InputError
from sim.costs.memory import Infeasible
from sim.step.simulate import Scenario, draw, foresight_of, problem_of


def foretold_share(scenario: Scenario, *, from_layer: int = 0) -> float:
    """Return the share of decode selections that the scenario's policy names beforehand.

    Selections are experts of a pass, in MoE layers from ``from_layer`` on.
    """
    problem = problem_of(scenario)
    drawn = draw(scenario, scenario.policy.feeding)
    residency = scenario.policy.placement.place(problem)
    if isinstance(residency, Infeasible):
        raise InputError(
            f"{scenario.policy.name}: {residency.reason} ({residency.missing_bytes} bytes missing)"
        )
    found = scenario.policy.prefetch.predict(foresight_of(scenario, problem, residency, drawn))
    num_passes, num_layers, _ = drawn.tokens.shape
    place = np.repeat(np.arange(len(found.first) - 1), np.diff(found.first))
    # The places of layers come first, pass by pass; then one place for each pass as a whole.
    of_pass = np.where(
        place < num_passes * num_layers, place // num_layers, place - num_passes * num_layers
    )
    named = np.zeros(drawn.tokens.shape, bool)
    named[of_pass, found.candidates["layer"], found.candidates["expert"]] = True
    layers = list(scenario.model.moe_layers)[from_layer:]
    selected = drawn.tokens[~drawn.passes.is_prefill][:, layers] > 0
    return float((selected & named[~drawn.passes.is_prefill][:, layers]).sum() / selected.sum())
