"""Decoding by width: the authors' development curve against ours, scaled once."""

from dataclasses import replace
from statistics import geometric_mean

from sim.routing.beams import BeamRouting
from sim.workload.batch import Batch
from validation.published.fiddler.readings import COPIES, Reading
from validation.published.fiddler.runs import ModelBench
from validation.published.fiddler.timing import seconds
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import OtherPolicy, Table

THRESHOLD_WIDTH = 10
"""Where an expert of as many tokens goes to the GPU by the code's constants, 7 ms a token against
70 ms: the tie goes to the GPU.
"""

ASSUMPTIONS = (
    "E1, which holds the 56 experts that the curve's machine held; 100 output tokens, as 30 s at width 1 are on E1. The code of "
    "that commit decodes W copies of one prompt, so all of them select the same experts; 7 ms a token against 70 ms; pageable copies. "
    "Each column is scaled once, by the geometric mean: what is compared is the shape."
)


def beam_width_table(bench: ModelBench) -> Table:
    """Seconds by width; beside them, with other rates of the copies."""
    rows = published_rows("validation.published.fiddler", "beam_widths.csv")
    # That commit decodes copies of one prompt, which all select the same experts.
    alike = replace(bench, routing=BeamRouting(base=bench.routing, divergence=0.0))
    first, *others = (_scaled(alike, rows, name) for name in reversed(COPIES))
    labels = list(reversed(COPIES))[1:]
    cells = tuple(
        cell_of(
            row,
            first[number],
            comparisons=tuple(
                OtherPolicy(label=label, simulated=column[number])
                for label, column in zip(labels, others, strict=True)
            ),
        )
        for number, row in enumerate(rows)
    )
    return Table(
        name="beam_widths",
        title="Decoding by width, development branch",
        assumptions=ASSUMPTIONS,
        cells=cells,
    )


def _scaled(bench: ModelBench, rows: tuple[PublishedRow, ...], copies: str) -> list[float]:
    """Our times at every width, times one factor that makes their geometric mean the published."""
    pinning, fraction = COPIES[copies]
    reading = Reading(
        label=copies,
        system="Fiddler",
        settings=pinning | {"believed_cost": "code"},
        rate_fraction=fraction,
    )
    found = [_decode_s(bench, reading, row) for row in rows]
    # The curve's machine is not stated, so only its shape can be compared.
    factor = geometric_mean(row.value for row in rows) / geometric_mean(found)
    return [factor * value for value in found]


def _decode_s(bench: ModelBench, reading: Reading, row: PublishedRow) -> float:
    width = int(row.system.split()[1])
    assert row.input_tokens is not None
    assert row.output_tokens is not None
    batch = Batch(prompt_tokens=row.input_tokens, output_tokens=row.output_tokens, beams=width)
    # The prefill gives the first output token.
    return seconds(bench, "E1", reading, batch)[1] * (row.output_tokens - 1)
