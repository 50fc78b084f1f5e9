"""The default memory rule against bytes that engines print, and against runs that worked."""

import numpy as np
import pytest

from benchmarks.published_memory import fits, printed_items
from tests.shared_data import shared_data

SPREAD = {"weights": 0.007, "kv": 0.0005, "compute": 0.25, "in use": 0.01}
"""In use is all that a card holds while serving, context included. Weights: half the rows are within
0.1 %."""


def test_printed_bytes() -> None:
    """Weights, KV cache (16 bit and q8_0) and compute buffers of every row that prints them."""
    shared_data("runtimes/memory.csv")
    errors: dict[str, list[float]] = {item: [] for item in SPREAD}
    for row, item, printed, predicted in printed_items():
        error = abs(predicted / printed - 1)
        assert error <= SPREAD[item], (row, item, printed, predicted)
        errors[item].append(error)
    assert {item: len(found) for item, found in errors.items()} == {
        "weights": 9,
        "kv": 12,
        "compute": 10,
        "in use": 9,
    }
    assert np.median(errors["weights"]) < 0.002


def test_published_runs_fit() -> None:
    """Of the runs that worked one is refused: by less than a P100's context is below that of the
    largest card.
    """
    shared_data("runtimes/rows.csv")
    checked = list(fits())
    assert len(checked) > 200
    refused = [(row["id"], over) for row, over in checked if over > 0]
    assert len(refused) <= 1 and all(over < 0.1e9 for _, over in refused), refused


@pytest.mark.parametrize("item", SPREAD)
def test_every_item_is_compared(item: str) -> None:
    """The shared rows name each of the items."""
    shared_data("runtimes/memory.csv")
    assert any(name == item for _, name, _, _ in printed_items())
