"""Plans for models whose layers lack attention, a feed-forward or experts."""

import pytest

from planner.search.objectives import Goal
from planner.search.search import Search, search
from sim.model.model import Model
from sim.policies import POLICIES
from sim.routing.generated import uniform
from sim.step.simulate import Scenario
from sim.workload.batch import Batch
from tests.sim.small import ODD_MODELS, small_machine

BATCH = Batch(prompt_tokens=6, output_tokens=3)


@pytest.mark.parametrize("model", ODD_MODELS.values(), ids=ODD_MODELS)
def test_odd_layers_have_a_plan(model: Model) -> None:
    """There is a plan with a figure, on a card that holds it and on one that holds a part."""
    for share in (0.8, 3.0):
        machine = small_machine(share * model.total_bytes + 4e6, 1e9)
        scenario = Scenario(
            machine=machine,
            model=model,
            batch=BATCH,
            policy=POLICIES["on-demand"],
            routing=uniform(),
            seed=3,
        )
        found = search(scenario, Goal(), 1)
        assert isinstance(found, Search)
        assert found.best.metrics is not None and found.best.metrics.output_tokens_per_s > 0
