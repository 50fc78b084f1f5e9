"""What holds for all tests: which are skipped where, and how properties are searched."""

import pytest
from hypothesis import settings

# How long one example takes says nothing on a machine that others use too. A property takes at most
# about a second of the processor: one that costs more an example states fewer examples itself. Its
# examples are the same in every run, so that a change is blamed for nothing that it did not do.
# `pytest --hypothesis-profile thorough` looks longer, and elsewhere each time.
settings.register_profile("rosin", settings.default, deadline=None, derandomize=True)
settings.register_profile(
    "thorough", settings.get_profile("rosin"), max_examples=2_000, derandomize=False
)
settings.load_profile("rosin")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu`, saying why, where there is no torch or no CUDA device."""
    if item.get_closest_marker("gpu") is not None:
        torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
