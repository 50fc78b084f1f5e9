"""Mixtral-Offloading's table: its row without a cache, and what follows from it."""

import pytest

from validation.published.offloading.mixtral import ENVIRONMENTS, ablation_table


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
