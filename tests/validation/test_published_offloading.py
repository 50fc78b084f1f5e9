"""Mixtral-Offloading's table: its row without a cache, and what follows from it."""

import pytest

from hwprofiles import load_machine
from hwprofiles.units import NS_PER_MS
from validation.published.offloading.mixtral import (
    ENVIRONMENTS,
    ablation_table,
    quantised_ns,
)
from validation.published.offloading.runs import MACHINES


def test_rows_follow_from_the_one_without_a_cache() -> None:
    """On the RTX 3060: with the time that copies leave of that row, the two others lie within 15 %."""
    table = ablation_table(0, ("RTX 3060",))
    assert [cell.system for cell in table.cells] == [
        "2-bit experts, no speculation",
        "2-bit experts",
    ]
    for cell in table.cells:
        assert abs(cell.error_fraction) < 0.15, cell.system
        assert cell.note.endswith("ms a layer beside copies")


@pytest.mark.slow
def test_rows_of_four_gpus_follow() -> None:
    """All eight within a fifth, a tenth on average."""
    cells = ablation_table(0).cells
    errors = [abs(cell.error_fraction) for cell in cells]
    assert len(cells) == 2 * len(ENVIRONMENTS)
    assert max(errors) < 0.20
    assert sum(errors) / len(errors) < 0.10


def test_quantised_matrices_take_their_kernels_and_what_those_read() -> None:
    """By hand on a T4: 70 kernels of 12.19 us, and 4 bytes for each of 394 million weights at 85 % of
    320 GB/s.
    """
    name, overrides = MACHINES["Tesla T4"]
    by_hand_ms = 70 * 0.01219 + 394.3e6 * 4 / (0.85 * 320e9) * 1e3
    assert quantised_ns(load_machine(name, overrides)) / NS_PER_MS == pytest.approx(
        by_hand_ms, rel=0.001
    )
