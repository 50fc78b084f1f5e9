"""The paper's three headline ratios, over configurations that the paper only partly lists."""

from collections.abc import Mapping
from statistics import mean

from sim.workload import Batch
from validation.published.fiddler.runs import MACHINES, Bench
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Comparison, Table

SINGLE_BATCHES = tuple(Batch(prompt_tokens=prompt, output_tokens=output) for prompt in (32, 64, 128, 256, 512) for output in (64, 256, 512))
PREFILLS = tuple(Batch(prompt_tokens=prompt, output_tokens=1) for prompt in (512, 1024, 2048, 4096))
BEAMS = tuple(Batch(prompt_tokens=32, output_tokens=64, beams=width) for width in (4, 8, 12, 16))
Ratios = Mapping[str, list[float]]
"""By environment, one ratio a batch."""

ASSUMPTIONS = (
    "The paper's configurations are not all listed. Taken: single batch, input 32 to 512 (5 lengths) by output 64, 256, 512; "
    "prefill 512, 1024, 2048, 4096; beams 4, 8, 12, 16 at input 32, output 64. Means over both environments, policy `fiddler` (serial, "
    "measured costs), llama.cpp with -ngl 8 (E1) and 16 (E2), its weights page-locked unless a column says pageable. No target: E2's DRAM "
    "rate and pageable rate, llama.cpp's CPU kernels and whether it page-locks its weights are assumed, not published."
)
PAGEABLE: Mapping[str, str] = {"is_pinned": "false"}


def headline_table(bench: Bench) -> Table:
    """The three ratios, baseline time over Fiddler's, larger is better for Fiddler."""
    single, prefill, beams = published_rows("validation.published.fiddler", "headlines.csv")
    others = {
        "pageable": _ratios(bench, "llama.cpp", PREFILLS, PAGEABLE),
        "against DeepSpeed-MII": _ratios(bench, "DeepSpeed-MII", PREFILLS),
    }
    cells = (
        _cell(single, _ratios(bench, "llama.cpp", SINGLE_BATCHES), {"pageable": _ratios(bench, "llama.cpp", SINGLE_BATCHES, PAGEABLE)}),
        _cell(prefill, _ratios(bench, "llama.cpp", PREFILLS), others),
        _cell(beams, _ratios(bench, "llama.cpp", BEAMS), {}),
    )
    return Table(name="headlines", title="Headline ratios", assumptions=ASSUMPTIONS, cells=cells)


def _cell(row: PublishedRow, ratios: Ratios, others: Mapping[str, Ratios]) -> Cell:
    shown = dict(ratios)
    shown |= {f"{label}, {place}": values for label, by_place in others.items() for place, values in by_place.items()}
    note = "; ".join(f"{label}: {min(values):.2f} to {max(values):.2f}" for label, values in shown.items())
    comparisons = tuple(Comparison(label=label, simulated=mean(values)) for label, values in shown.items())
    return cell_of(row, mean(value for values in ratios.values() for value in values), note=note, comparisons=comparisons)


def _ratios(bench: Bench, baseline: str, batches: tuple[Batch, ...], settings: Mapping[str, str] | None = None) -> Ratios:
    """By environment, the baseline's time over Fiddler's for each batch."""

    def ratio(place: str, batch: Batch) -> float:
        return bench.run(place, baseline, batch, settings).end_to_end_s / bench.run(place, "Fiddler", batch).end_to_end_s

    return {place: [ratio(place, batch) for batch in batches] for place in MACHINES}
