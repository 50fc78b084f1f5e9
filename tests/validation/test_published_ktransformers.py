"""KTransformers' placement grid: how its ranking is judged, and that the simulator ranks it."""

from pathlib import Path

import pytest

from benchmarks.ktransformers_sensitivity import SHARES, scaled, variants
from hwprofiles import InputError
from tests.validation.reproduced import papers_once  # noqa: F401  # a fixture
from validation.published import reproduce
from validation.published.ktransformers.ranking import Ranking, noise_of
from validation.published.ktransformers.runs import BATCH, LAYER_NS, PLACEMENTS, bench
from validation.published.ktransformers.summary import BLIND
from validation.published.ktransformers.tables import key_of, published_grid, rows, simulated_grid

PUBLISHED = {
    (0.0, "a"): 100.0,
    (0.0, "b"): 102.0,
    (0.5, "a"): 110.0,
    (0.5, "b"): 130.0,
    (0.5, "c"): 131.0,
}


def _ranking(**simulated: float) -> Ranking:
    grid = {key: 1.0 for key in PUBLISHED} | {
        (0.5, name): value for name, value in simulated.items()
    }
    return Ranking(published=PUBLISHED, simulated=grid, noise_fraction=noise_of(PUBLISHED))


def test_cells_within_the_noise_are_equal() -> None:
    """Where placements are the same the grid spreads by 2 %; 130 and 131 are as good as each other,
    110 is not.
    """
    assert noise_of(PUBLISHED) == pytest.approx(0.02)
    assert _ranking(a=1, b=3, c=2).right_best() == [0.5]
    assert _ranking(a=3, b=2, c=1).right_best() == [] == _ranking(a=3, b=2, c=1).right_worst()


def test_tau_by_hand() -> None:
    """Of three pairs all, two or none in order; the shares at which all placements are the same do
    not count.
    """
    assert _ranking(a=1, b=2, c=3).tau == 1.0
    assert _ranking(a=1, b=3, c=2).tau == pytest.approx(1 / 3)
    assert _ranking(a=3, b=2, c=1).tau == -1.0 == _ranking(a=3, b=2, c=1).tau_within_shares


def test_the_grid_is_whole() -> None:
    """Five placements at eleven shares; at none and at all of the experts they differ by less than
    3 %.
    """
    keys = [key_of(row) for row in rows()]
    assert len(set(keys)) == 55 and {name for _, name in keys} == set(PLACEMENTS)
    grid = published_grid([share / 100 for share in range(10, 101, 10)])
    for share in (0.0, 1.0):
        cells = [value for (at, _), value in grid.items() if at == share]
        assert max(cells) / min(cells) < 1.03


def test_the_simulator_ranks_the_grid() -> None:
    """Five shares, one request: tau of 0.6, best and worst right at each, random and uniform as
    one; more experts on the GPU are faster.
    """
    simulated = simulated_grid(bench(0, num_requests=1), [0.0, *SHARES])
    published = published_grid(SHARES)
    found = Ranking(published=published, simulated=simulated, noise_fraction=noise_of(published))
    assert found.tau >= 0.6 and found.right_best() == SHARES == found.right_worst(BLIND)
    for placement in PLACEMENTS:
        speeds = [simulated[share, placement] for share in (0.0, *SHARES)]
        assert speeds == sorted(speeds)
    assert len({round(simulated[0.0, placement], 6) for placement in PLACEMENTS}) == 1


@pytest.mark.parametrize("layer_ns", [60e3, 77e3, LAYER_NS, 140e3])
def test_hand_overs_in_every_layer_turn_front_loading(layer_ns: float) -> None:
    """Whatever they cost: no layer saves them, so front-loading is ahead of random and uniform, and
    behind frequency.
    """
    found = simulated_grid(bench(0, layer_ns=layer_ns, num_requests=1), [0.7])
    assert (
        max(found[0.7, "random"], found[0.7, "uniform"])
        < found[0.7, "front-loading"]
        < found[0.7, "frequency"]
    )


def test_hand_overs_where_needed_do_not() -> None:
    """Where only layers with experts on the CPU hand over, at the costs that machine files assume,
    front-loading is the slowest.
    """
    found = simulated_grid(bench(0, layer_ns=0.0, num_requests=1), [0.7])
    assert found[0.7, "front-loading"] < min(found[0.7, "random"], found[0.7, "uniform"])


def test_speeds_are_near() -> None:
    """No constant is fitted to the grid: within a tenth without experts on the GPU, up to 30 % fast
    with all, for want of all-reduces.
    """
    found, published = simulated_grid(bench(0, num_requests=1), [0.0, 1.0]), published_grid([1.0])
    for share, lowest, highest in ((0.0, 0.9, 1.1), (1.0, 1.0, 1.3)):
        mean = sum(published[share, placement] for placement in PLACEMENTS) / len(PLACEMENTS)
        assert lowest < found[share, "random"] / mean < highest, share


def test_blind_placements_count_as_each_other() -> None:
    """Of published 110 (a), 130 and 131, b is a wrong worst, unless a and b are alike; c stays
    wrong.
    """
    assert (
        _ranking(a=2, b=1, c=3).right_worst()
        == []
        == _ranking(a=2, b=3, c=1).right_worst(alike=("a", "b"))
    )
    assert _ranking(a=2, b=1, c=3).right_worst(alike=("a", "b")) == [0.5]


def test_variants_scale_the_stated_skew() -> None:
    """The first variant is the stated routing itself; the others differ from it."""
    named = dict(variants())
    stated = next(iter(named.values()))
    assert scaled(stated, 1.0, 1.0) == stated  # type: ignore[arg-type]
    assert len(named) == 8 and sum(routing == stated for routing in named.values()) == 1


def test_popularity_is_refused(tmp_path: Path) -> None:
    """A popularity file would be ignored, so it is an error."""
    with pytest.raises(InputError, match="takes no popularity"):
        reproduce("ktransformers", 0, tmp_path / "counts.json")


@pytest.mark.slow
@pytest.mark.usefixtures("papers_once")
def test_every_cell() -> None:
    """The whole reproduction: 55 cells with lengths; tau and best met, worst missed only between
    random and uniform, and said so.
    """
    found = reproduce("ktransformers")
    (table,) = found.tables
    assert len(table.cells) == 55 and {cell.output_tokens for cell in table.cells} == {
        BATCH.output_tokens
    }
    assert [line.is_met for line in found.summary[:4]] == [True, True, False, None]
    assert found.summary[3].found == "9 of 9 shares" and table.mean_absolute_error_fraction < 0.14
