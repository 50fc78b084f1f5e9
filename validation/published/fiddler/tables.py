"""Compare Fiddler's tables with the simulator."""

from collections.abc import Mapping
from pathlib import Path

from sim.routing import load_routing, uniform
from sim.workload.batch import Batch
from validation.published.fiddler.decoding_curves import decoding_tables
from validation.published.fiddler.headlines import headline_table
from validation.published.fiddler.runs import ModelBench, model, quantity_of
from validation.published.fiddler.summary import summary_of
from validation.published.published_row import NO_COMPARISONS, PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Reproduction, Table

NOISY_INPUT_TOKENS = 128
"""Input tokens of a row of v1 that is printed but not scored.

The row's 16-token cell takes longer in total than the 32-token cell.
"""


def reproduce_fiddler(seed: int, routing_popularity: Path | None) -> Reproduction:
    """Reproduce all of Fiddler's tables.

    Without measured popularity the hit rates are skipped, and placements know only the shipped
    statistics.
    """
    shipped = ModelBench(routing=load_routing(None, model()), seed=seed)
    popular = shipped
    if routing_popularity is not None:
        popular = ModelBench(
            routing=load_routing(f"popularity:{routing_popularity}", model()), seed=seed
        )
    tables = (
        v1_table(popular),
        baseline_table(
            "deepspeed_mii", "DeepSpeed-MII: every weight streamed for every token", shipped
        ),
        baseline_table(
            "mixtral_offloading", "Mixtral-Offloading: an LRU per layer, swaps on a miss", shipped
        ),
        residency_table(popular, has_popularity=routing_popularity is not None),
        headline_table(popular),
        *decoding_tables(popular),
    )
    return Reproduction(
        name="fiddler",
        title="Fiddler (arXiv 2402.07033)",
        seed=seed,
        routing=f"{popular.routing.description} for Fiddler, {shipped.routing.description} for its baselines",
        tables=tables,
        summary=summary_of(tables, has_popularity=routing_popularity is not None),
    )


def v1_table(bench: ModelBench) -> Table:
    """Return (a) the 24 cells of v1's figure, with the released code's serial execution beside."""
    others = {
        "released, code's costs": {"believed_cost": "code"},
        "released, measured costs": {"believed_cost": "measured"},
    }

    def cell(row: PublishedRow) -> Cell:
        """The row's cell, with the released code's execution beside."""
        batch = _batch(row)
        compared = {
            label: bench.run(row.environment, "Fiddler", batch, settings)
            for label, settings in others.items()
        }
        comparisons = {
            label: quantity_of(metrics, batch, row.quantity) for label, metrics in compared.items()
        }
        return _cell(
            row,
            bench,
            is_scored=row.input_tokens != NOISY_INPUT_TOKENS,
            note=_noise_of(row),
            comparisons=comparisons,
        )

    return Table(
        name="v1",
        title="Fiddler v1 on E1, tokens/s",
        assumptions="Policy `fiddler-v1`; tokens/s is output / (prefill + decode). Beside it policy `fiddler`, the released serial code.",
        cells=tuple(cell(row) for row in _rows("v1_tokens_per_s")),
    )


def baseline_table(file_name: str, title: str, bench: ModelBench) -> Table:
    """Return (b), (c) a baseline's figures, with the shipped routing statistics.

    The baseline's LRU depends on tokens that repeat their neighbours' experts.
    """
    assumptions = f"Routing: {bench.routing.description}. Where the source gives no input length, 32 tokens are taken."
    return Table(
        name=file_name,
        title=title,
        assumptions=assumptions,
        cells=tuple(_cell(row, bench) for row in _rows(file_name)),
    )


def residency_table(bench: ModelBench, *, has_popularity: bool) -> Table:
    """Return (d) how many experts fit, and how often they are hit.

    Hit rates by popularity are included only if popularity is known.
    """
    # A placement that knows nothing hits by chance, whatever the routing, so alike experts stand
    # for it.
    equal = ModelBench(routing=uniform(), seed=bench.seed)

    def is_possible(row: PublishedRow) -> bool:
        """Whether the row's figure can be simulated with what is known."""
        return has_popularity or row.system != "Fiddler" or row.unit != "%"

    return Table(
        name="residency",
        title="Experts on the GPU and hit rates",
        assumptions="Popularity is the released counts of seven MMLU subjects: the same counts place the experts and draw the tokens. "
        "Random placement is a placement that knows nothing: every expert equally likely.",
        cells=tuple(
            _cell(row, equal if row.system == "Random placement" else bench)
            for row in _rows("residency")
            if is_possible(row)
        ),
    )


def _rows(file_name: str) -> tuple[PublishedRow, ...]:
    return published_rows("validation.published.fiddler", f"{file_name}.csv")


def _batch(row: PublishedRow) -> Batch:
    assert row.input_tokens and row.output_tokens, "only the headlines have rows without lengths"
    return Batch(prompt_tokens=row.input_tokens, output_tokens=row.output_tokens)


def _noise_of(row: PublishedRow) -> str:
    return "noisy as published, not scored" if row.input_tokens == NOISY_INPUT_TOKENS else ""


def _cell(
    row: PublishedRow,
    bench: ModelBench,
    *,
    is_scored: bool = True,
    note: str = "",
    comparisons: Mapping[str, float] = NO_COMPARISONS,
) -> Cell:
    batch = _batch(row)
    simulated = quantity_of(bench.run(row.environment, row.system, batch), batch, row.quantity)
    return cell_of(row, simulated, note=note, is_scored=is_scored, comparisons=comparisons)
