"""The conformance kit runs every test that takes ``contender`` with every engine."""

import pytest

from sim.engine import ENGINES, Engine, engine


@pytest.fixture(params=sorted(ENGINES))
def contender(request: pytest.FixtureRequest) -> Engine:
    """One of the engines."""
    return engine(request.param)
