"""Fiddler's published tables: the simulator meets the targets, without a constant fitted to them."""

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hwprofiles import InputError
from sim.routing import load_routing
from sim.routing.beams import BeamRouting
from sim.workload.batch import Batch
from tests.shared_data import FOLDER, shared_data
from validation.published import Reproduction, SummaryLine, reproduce, write
from validation.published.claim import reading_verdict
from validation.published.fiddler.decoding_curves import (
    AS_CODED,
    num_copies,
    prompt_rates,
    published_prompts,
)
from validation.published.fiddler.readings import fiddler_readings, measured_lags
from validation.published.fiddler.runs import ModelBench, model
from validation.published.fiddler.summary import summary_of
from validation.published.fiddler.tables import residency_table
from validation.published.fiddler.timing import seconds
from validation.published.published_row import cell_of, published_rows

POPULARITY = "routing/mixtral-8x7b-popularity.json"


@pytest.fixture(scope="module")
def fiddler() -> Reproduction:
    """The reproduction, with measured popularity where it is at hand."""
    path = FOLDER / POPULARITY
    return reproduce("fiddler", 0, path if path.is_file() else None)


def lines(fiddler: Reproduction, start: str) -> list[SummaryLine]:
    """The verdicts whose name starts so."""
    found = [line for line in fiddler.summary if line.name.startswith(start)]
    assert found
    return found


def test_v1_within_20_percent(fiddler: Reproduction) -> None:
    """The 18 cells without input 128: mean absolute error at most 20 %, the noisy row printed but
    not scored.
    """
    table = fiddler.table("v1")
    assert len(table.cells) == 24
    assert [cell.input_tokens for cell in table.cells if not cell.is_scored] == [128] * 6
    assert table.mean_absolute_error_fraction <= 0.20


def test_v1_beats_the_serial_row_on_its_own_table(fiddler: Reproduction) -> None:
    """What v1 did, overlapping during prefill, explains v1's figures better than the released
    serial code does.
    """
    scored = [cell for cell in fiddler.table("v1").cells if cell.is_scored]
    code = "released, code's costs"
    serial = [abs(cell.comparisons[code] / cell.published - 1) for cell in scored]
    assert fiddler.table("v1").mean_absolute_error_fraction < sum(serial) / len(serial)


def test_deepspeed_is_flat_at_3_85_seconds(fiddler: Reproduction) -> None:
    """E2: 3.85 s a token within 10 % at every length; E1 0.13 tokens/s."""
    cells = fiddler.table("deepspeed_mii").cells
    per_token = [cell for cell in cells if cell.quantity == "seconds_per_output_token"]
    assert len({cell.input_tokens for cell in per_token}) >= 3
    assert all(abs(cell.error_fraction) <= 0.10 for cell in per_token)
    assert all(line.is_met is not False for line in lines(fiddler, "DeepSpeed-MII"))


def test_mixtral_offloading_totals(fiddler: Reproduction) -> None:
    """E2: all 12 totals and 1.0 s a token within 15 %, 31 to 41 misses of 64 a token."""
    cells = fiddler.table("mixtral_offloading").cells
    totals = [cell for cell in cells if cell.quantity == "end_to_end_s"]
    assert len(totals) == 12
    assert all(abs(cell.error_fraction) <= 0.15 for cell in totals)
    (misses,) = (cell for cell in cells if cell.quantity == "decode_expert_misses_per_step")
    assert 31 <= misses.simulated <= 41
    (per_token,) = (cell for cell in cells if cell.quantity == "tpot_s")
    assert per_token.simulated == pytest.approx(1.0, rel=0.15)


def test_residents_are_exact(fiddler: Reproduction) -> None:
    """56 experts on E1, 125 on E2, from the memory rule alone."""
    counts = [
        cell for cell in fiddler.table("residency").cells if cell.quantity == "num_resident_experts"
    ]
    assert [(cell.environment, cell.simulated) for cell in counts] == [("E1", 56), ("E2", 125)]


def test_hit_rates_within_two_points(fiddler: Reproduction) -> None:
    """25.2 and 53.0 % by popularity, 21.9 and 48.8 % at random, each within two points."""
    shared_data(POPULARITY)
    rates = [
        cell for cell in fiddler.table("residency").cells if cell.quantity == "hit_rate_percent"
    ]
    assert len(rates) == 4
    assert all(abs(cell.simulated - cell.published) <= 2 for cell in rates)


def test_hit_rates_are_skipped_aloud_without_popularity(fiddler: Reproduction) -> None:
    """Without a popularity file no hit rate is made up, and the summary says why."""
    table = residency_table(
        ModelBench(routing=load_routing(None, model()), seed=0), has_popularity=False
    )
    assert not [
        cell
        for cell in table.cells
        if cell.system == "Fiddler" and cell.quantity == "hit_rate_percent"
    ]
    others = tuple(other for other in fiddler.tables if other.name != "residency")
    skipped = [
        line
        for line in summary_of((*others, table), has_popularity=False)
        if "skipped" in line.found
    ]
    assert len(skipped) == 1 and skipped[0].is_met is None


def test_headlines_have_no_verdict(fiddler: Reproduction) -> None:
    """Ratios under assumed configurations are shown beside the paper's, never counted as met."""
    assert len(fiddler.table("headlines").cells) == 8
    assert [line.is_met for line in fiddler.summary[-11:-3]] == [None] * 8


def test_a_headline_shows_what_readings_span(fiddler: Reproduction) -> None:
    """Every ratio stands beside those of the other readings, and its line says what they span and
    what follows.
    """
    cells = fiddler.table("headlines").cells
    crossed = 2 * 3 * 3
    singles, prefills, beams = 2 * crossed, crossed, 3 * 3 * 3 * 5
    counts = [singles, prefills, prefills, prefills, beams, singles, singles, crossed]
    assert [1 + len(cell.comparisons) for cell in cells] == counts
    for cell, line in zip(cells, fiddler.summary[-11:-3], strict=True):
        assert line.name == cell.system and line.found.endswith(f": {reading_verdict(cell)}")


def test_long_prefill_is_confirmed(fiddler: Reproduction) -> None:
    """Against both baselines, with the copies that the authors state of pinned experts."""
    for cell in fiddler.table("headlines").cells[1:4]:
        assert reading_verdict(cell) == "confirmed"


def test_experts_of_ten_tokens_go_to_the_gpu(fiddler: Reproduction) -> None:
    """The steps of both development figures come at the published numbers of copies."""
    found = lines(fiddler, "Copies of")
    assert len(found) == 3 and all(line.is_met for line in found)


@pytest.mark.parametrize("name", ["one_beam", "two_beams", "beam_batches"])
def test_decoding_follows_from_the_prompts_of_its_runs(fiddler: Reproduction, name: str) -> None:
    """In seconds and without a scale, within the 25 % asked of the shape; not so with E1's rates."""
    table = fiddler.table(name)
    own = [abs(cell.comparisons["E1's own rates"] / cell.published - 1) for cell in table.cells]
    assert table.mean_absolute_error_fraction < 0.25 < sum(own) / len(own)


def test_rates_give_the_prompts_that_they_are_read_off(fiddler_bench: ModelBench) -> None:
    """Both prompts take the published time, and no decoding is looked at."""
    rates = prompt_rates(fiddler_bench)
    for row in published_prompts():
        batch = Batch(prompt_tokens=5, output_tokens=1, beams=num_copies(row.system))
        routing = BeamRouting(base=fiddler_bench.routing, divergence=0.0)
        given = replace(fiddler_bench, routing=routing)
        found = given.run("E1", "Fiddler", batch, AS_CODED, rates.overrides())
        assert found.ttft_s == pytest.approx(row.value, rel=0.01)


@pytest.fixture
def fiddler_bench() -> ModelBench:
    """Mixtral-8x7B with its shipped statistics."""
    return ModelBench(routing=load_routing(None, model()), seed=0)


def test_a_decoded_token_is_the_same_under_every_reading() -> None:
    """Readings differ in prompts alone, but for copies of activations (0.02 %), so a whole run is
    a prompt and tokens timed once.
    """
    bench = ModelBench(routing=load_routing(None, model()), seed=0)
    batch = Batch(prompt_tokens=32, output_tokens=8)
    times = [seconds(bench, "E1", reading, batch)[1] for reading in fiddler_readings()]
    assert times == pytest.approx([times[0]] * len(times), rel=1e-3)


@pytest.mark.parametrize(
    ("published", "simulated", "other", "expected"),
    [
        (1.26, 1.2, 1.4, "confirmed"),
        (1.26, 1.0, 1.4, "open"),
        (1.26, 1.2, 1.25, "refuted"),
        (2.0, 2.1, 2.2, "refuted"),
    ],
)
def test_verdicts(published: float, simulated: float, other: float, expected: str) -> None:
    """Among the readings and within 15 %; among them; beyond them all."""
    row = published_rows("validation.published.fiddler", "headlines.csv")[0]
    cell = cell_of(
        replace(row, value=published),
        simulated,
        comparisons={"another": other},
    )
    assert reading_verdict(cell) == expected


def test_beams_that_part_earlier_cost_llama_cpp_more(fiddler: Reproduction) -> None:
    """It decodes again what beams do not share: the ratio grows with how far back they part."""
    beams = next(
        cell for cell in fiddler.table("headlines").cells if cell.system.startswith("beam search")
    )
    as_measured, ratios = beams.simulated, list(beams.comparisons.values())[:4]
    assert ratios == sorted(ratios) and ratios[0] < as_measured < ratios[-1]


def test_beams_part_further_back_the_more_there_are() -> None:
    """Measured widths have their own distances, others those between."""
    lags = [measured_lags(width) for width in (4, 8, 12, 16)]
    assert lags[0][0] == 2 and lags[-1][-1] == 38
    for few, many in pairwise(lags):
        assert all(one <= other for one, other in zip(few, many, strict=True))
        assert sum(few) < sum(many)


def test_every_target_is_met(fiddler: Reproduction) -> None:
    """No line of the summary says no."""
    assert [line.name for line in fiddler.summary if line.is_met is False] == []


def test_files(fiddler: Reproduction, tmp_path: Path) -> None:
    """CSV with a line a cell, Markdown with every table, a PNG, and nothing left over."""
    paths = write(fiddler, tmp_path / "new" / "folder")
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    by_suffix = {path.suffix: path for path in paths}
    rows = list(csv.DictReader(by_suffix[".csv"].read_text(encoding="utf-8").splitlines()))
    assert len(rows) == sum(len(table.cells) for table in fiddler.tables)
    assert all(row["source"] and row["mark"] for row in rows)
    text = by_suffix[".md"].read_text(encoding="utf-8")
    assert all(f"## {table.title}" in text for table in fiddler.tables)
    assert by_suffix[".png"].read_bytes().startswith(b"\x89PNG")


def test_unwritable_folder_is_an_input_error(fiddler: Reproduction, tmp_path: Path) -> None:
    """A file where the folder should be: one line that names it."""
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="taken"):
        write(fiddler, tmp_path / "taken")


def test_unknown_reproduction() -> None:
    """A misspelt name gets the nearest one."""
    with pytest.raises(InputError, match="did you mean 'fiddler'"):
        reproduce("fidler")
