"""Decoding by copies of one prompt: the authors' two development figures, each scaled once."""

import re
from dataclasses import replace
from statistics import geometric_mean

from sim.routing.beams import BeamRouting
from sim.workload.batch import Batch
from validation.published.fiddler.readings import COPIES, Reading
from validation.published.fiddler.runs import ModelBench
from validation.published.fiddler.timing import seconds
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Table

THRESHOLD_TOKENS = 10
"""Where an expert of as many tokens goes to the GPU by the code's constants, 7 ms a token against
70 ms: the tie goes to the GPU.
"""

NUM_BEAMS = 2
"""Beams of each copy in the figure that has beams: what the only script of its commit that names a
number asks for (``test_pp.sh``). The figure's own command is not in the repository.
"""

FIRST_COPIES = "pageable"
"""How the code of the commit copies: ``load_state_dict`` from memory that is not page-locked."""

ASSUMPTIONS = (
    "E1, which holds the 56 experts that the curve's machine held; 60 output tokens, as 30 s of two beams "
    "are on E1. The code of the commit decodes x copies of one prompt greedily; copies of a hypothesis select "
    "the same experts. 7 ms a token against 70 ms. Each column is scaled once, by the geometric mean: "
    "what is compared is the shape."
)


def decoding_tables(bench: ModelBench) -> tuple[Table, Table]:
    """Return copies of one hypothesis, then of two.

    The first table begins with copies of experts as the code has them. Its machine is not stated,
    so how fast they were is taken from it, the nearest of the documented rates, for the second.
    """
    columns = _columns(bench, 1, FIRST_COPIES)
    one = _table("one_beam", f"Decoding by copies of one hypothesis ({FIRST_COPIES})", 1, columns)
    nearest = min(columns, key=lambda name: _error(1, columns[name]))
    columns = _columns(bench, NUM_BEAMS, nearest)
    title = f"Decoding by copies of two hypotheses ({nearest})"
    return one, _table("two_beams", title, NUM_BEAMS, columns)


def num_copies(system: str) -> int:
    """The number of copies in the name of a row, such as "2 beams, 5 copies"."""
    found = re.search(r"(\d+) cop", system)
    assert found is not None, system
    return int(found[1])


def _rows(num_beams: int) -> list[PublishedRow]:
    rows = published_rows("validation.published.fiddler", "decoding_curves.csv")
    return [row for row in rows if row.system.startswith(f"{num_beams} beam")]


def _table(name: str, title: str, num_beams: int, columns: dict[str, list[float]]) -> Table:
    """A table whose first column is scored, the others beside it."""
    (_, first), *others = columns.items()
    cells = tuple(
        cell_of(
            row,
            first[number],
            comparisons={label: column[number] for label, column in others},
        )
        for number, row in enumerate(_rows(num_beams))
    )
    return Table(name=name, title=title, assumptions=ASSUMPTIONS, cells=cells)


def _error(num_beams: int, column: list[float]) -> float:
    """The mean error of a column against the figure."""
    pairs = zip(column, _rows(num_beams), strict=True)
    errors = [abs(found / row.value - 1.0) for found, row in pairs]
    return sum(errors) / len(errors)


def _columns(bench: ModelBench, num_beams: int, first: str) -> dict[str, list[float]]:
    """A column for each documented rate of copies, one of them first."""
    names = dict.fromkeys((first, *COPIES))
    return {name: _column(bench, num_beams, name) for name in names}


def _column(bench: ModelBench, num_beams: int, copies: str) -> list[float]:
    """Our times by copies, times one factor that makes their geometric mean the published."""
    # Each hypothesis is a sequence of its own, and its copies are beams that share all tokens.
    routing = BeamRouting(base=bench.routing, divergence=0.0, num_prompts=num_beams)
    pinning, fraction = COPIES[copies]
    reading = Reading(
        label=copies,
        system="Fiddler",
        settings=pinning | {"believed_cost": "code"},
        rate_fraction=fraction,
    )
    rows = _rows(num_beams)
    found = [_decode_s(replace(bench, routing=routing), reading, row, num_beams) for row in rows]
    # The curve's machine is not stated, so only its shape can be compared.
    factor = geometric_mean(row.value for row in rows) / geometric_mean(found)
    return [factor * value for value in found]


def _decode_s(bench: ModelBench, reading: Reading, row: PublishedRow, num_beams: int) -> float:
    assert row.input_tokens is not None
    assert row.output_tokens is not None
    batch = Batch(
        prompt_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        batch_size=num_beams,
        beams=num_copies(row.system),
    )
    # The prefill gives the first output token.
    return seconds(bench, "E1", reading, batch)[1] * (row.output_tokens - 1)
