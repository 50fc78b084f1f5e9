"""What figures of any result must not do: cut words or marks, or put a legend over an axis."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rosin.report.figure_style import begin_at_zero, house_style
from validation.published.figure import figure_of
from validation.published.reproduction import Cell, Reproduction, Table


def _reproduction(systems: list[str]) -> Reproduction:
    cells = [
        Cell(
            environment="E1",
            system=system,
            input_tokens=None,
            output_tokens=None,
            quantity="ratio",
            unit="x",
            published=1.0 + number,
            simulated=1.1 + number,
            mark="P",
            source="s",
        )
        for number, system in enumerate(systems)
    ]
    table = Table(name="t", title="t", assumptions="", cells=tuple(cells))
    return Reproduction(name="n", title="A paper", seed=0, routing="r", tables=(table,), summary=())


@pytest.mark.parametrize(
    "systems",
    [
        ["LRU", "LFU"],
        [f"{number} beams, {number} copies" for number in range(24)],
        [f"DeepSpeed ZeRO-Inference, S{number} summarization" for number in range(4)],
    ],
    ids=["few", "many", "long names"],
)
def test_a_legend_is_whole_and_below_its_axis(systems: list[str]) -> None:
    """It lies inside the picture and under the axis' label; no two systems look alike."""
    with house_style():
        figure = figure_of(_reproduction(systems))
        figure.draw_without_rendering()
        [part] = figure.subfigs
        [axes] = part.axes
        [legend] = part.legends
        box = legend.get_window_extent()
        assert box.x0 >= figure.bbox.x0 and box.x1 <= figure.bbox.x1
        assert box.y0 >= figure.bbox.y0
        assert box.y1 <= axes.xaxis.label.get_window_extent().y0
    looks = {
        (
            tuple(marks.get_facecolor()[0]),
            len(marks.get_paths()[0].vertices),
            str(marks.get_paths()[0]),
        )
        for marks in axes.collections[1:]
    }
    assert len(looks) == len(systems)


@given(st.floats(1e-3, 1e3), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_the_highest_mark_is_whole(highest: float, spread: float) -> None:
    """However alike the values are, the axis begins at 0 and ends above the highest."""
    axes = Figure().subplots()
    axes.plot([0, 1], [highest, highest * (1 - spread)], marker="o")
    begin_at_zero(axes)
    low, high = axes.get_ylim()
    assert low == 0
    assert high >= 1.05 * highest
