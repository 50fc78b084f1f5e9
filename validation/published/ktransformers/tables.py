"""Compare KTransformers' placement grid with the simulator."""

from dataclasses import replace
from pathlib import Path

from validation.published.ktransformers.ranking import Grid, Ranking, noise_of
from validation.published.ktransformers.runs import BATCH, PlacementBench, bench
from validation.published.ktransformers.summary import summary_of
from validation.published.popularity import refuse_popularity
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Reproduction, Table

NEEDED = "hand-over where needed"
"""Name of the runs in which only layers with experts on the CPU hand over, at the machine's
costs.
"""

ASSUMPTIONS = (
    "Published: ShareGPT, tensor parallel size 4; neither lengths nor concurrency. Taken: one sequence, 43 prompt and 122 output tokens "
    "(ShareGPT's means), decoded tokens/s. Every layer hands over to the CPU and back, as the released wrapper does, which takes 126 us "
    "besides experts, as measured on another machine. Four cards pooled as ideal tensor parallelism: all-reduces, the same in every cell, "
    "are left out. One socket. A layer's experts run as one call on each device. Dynamic starts from frequency and is re-placed after "
    f"every prompt. `{NEEDED}`: only layers with experts on the CPU, 20 us for the pool and 10 us a copy, as machine files assume."
)


def reproduce_ktransformers(seed: int, routing_popularity: Path | None) -> Reproduction:
    """Reproduce the grid with its ranking.

    Raises InputError for a popularity file, which this reproduction does not use.
    """
    refuse_popularity(routing_popularity, "ktransformers", "its routing is stated, not given")
    usual = bench(seed)
    # The other reading of what is published: layers without experts on the CPU hand nothing over.
    needed = bench(seed, layer_ns=0.0)
    table = grid_table(usual, needed)
    published = {key_of(row): row.value for row in rows()}
    first = {key: cell.simulated for key, cell in zip(published, table.cells, strict=True)}
    second = {
        key: cell.comparisons[NEEDED] for key, cell in zip(published, table.cells, strict=True)
    }
    rankings = tuple(
        Ranking(published=published, simulated=grid, noise_fraction=noise_of(published))
        for grid in (first, second)
    )
    return Reproduction(
        name="ktransformers",
        title="KTransformers' expert placements (Qwen3-Next-80B-A3B FP8)",
        seed=seed,
        routing=usual.routing.description,
        tables=(table,),
        summary=summary_of(*rankings, needed=NEEDED),
    )


def grid_table(usual: PlacementBench, needed: PlacementBench) -> Table:
    """All cells, with the other reading of the hand-over beside each."""
    cells = tuple(_cell(row, usual, needed) for row in rows())
    return Table(
        name="grid",
        title="Decoded tokens/s by share and placement",
        assumptions=ASSUMPTIONS,
        cells=cells,
    )


def simulated_grid(given: PlacementBench, shares: list[float]) -> Grid:
    """The simulated cells at these shares."""
    return {
        key: given.tokens_per_s(key[1], key[0]) for key in map(key_of, rows()) if key[0] in shares
    }


def published_grid(shares: list[float]) -> Grid:
    """The published cells at these shares, and those with no expert on the GPU."""
    return {key_of(row): row.value for row in rows() if key_of(row)[0] in (0.0, *shares)}


def rows() -> tuple[PublishedRow, ...]:
    """Return the published rows of the grid."""
    return published_rows("validation.published.ktransformers", "grid.csv")


def key_of(row: PublishedRow) -> tuple[float, str]:
    """Share and placement of a row."""
    return int(row.quantity.partition("%")[0]) / 100, row.system


def _cell(row: PublishedRow, usual: PlacementBench, needed: PlacementBench) -> Cell:
    share, placement = key_of(row)
    sized = replace(row, input_tokens=BATCH.prompt_tokens, output_tokens=BATCH.output_tokens)
    compared = {NEEDED: needed.tokens_per_s(placement, share)}
    return cell_of(sized, usual.tokens_per_s(placement, share), comparisons=compared)
