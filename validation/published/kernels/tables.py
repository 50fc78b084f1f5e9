"""Compare NVIDIA's measured kernels for one layer's experts with the simulator's price of such a
call.

The figures are those of six models' shapes in the tables of aiconfigurator-core 0.12.0
(Apache-2.0), experts neither split over GPUs nor within. For each number of tokens they are those
of the fastest framework, whose version is in the source column. Tokens are dealt out evenly. On the
A100, TensorRT-LLM measured skewed tokens alone, which count at one token and from 16 tokens an
expert on.
"""

from pathlib import Path

import numpy as np

from hwprofiles import load_machine
from hwprofiles.units import NS_PER_MS
from sim.costs.cost_model import CostModel
from sim.model.library import load_model
from validation.published.popularity import refuse_popularity
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Reproduction, SummaryLine, Table
from validation.published.target import at_most

FITTED_ON = ("h100", "16bit")
"""The cells that the two constants of a grouped call were fitted to.

The constants are ``kernel_ns`` per kernel and ``serial_fraction``.
"""

MEDIAN_TARGET_FRACTION = 0.06
P90_TARGET_FRACTION = 0.20

ASSUMPTIONS = (
    "One call for all experts of a layer: its kernels, the weights of every selected expert read once, activations, and the arithmetic; "
    "a share of it shows beside the reading. Memory and arithmetic rates are the machine files'. What a kernel takes and what share "
    "shows was fitted on 16-bit cells of the H100; A100 states its own share. All other cells check."
)


def reproduce_kernels(seed: int, routing_popularity: Path | None) -> Reproduction:
    """Reproduce a table for each GPU and format.

    Raises InputError for a popularity file: tokens are dealt out evenly.
    """
    refuse_popularity(routing_popularity, "kernels", "tokens are dealt out evenly")
    rows = published_rows("validation.published.kernels", "grouped_experts.csv")
    kinds = list(dict.fromkeys((row.environment, quantization_of(row)) for row in rows))
    tables = tuple(
        _table(kind, tuple(row for row in rows if (row.environment, quantization_of(row)) == kind))
        for kind in kinds
    )
    return Reproduction(
        name="kernels",
        title="Grouped experts: kernel tables of NVIDIA aiconfigurator-core 0.12.0",
        seed=seed,
        routing="tokens dealt out evenly",
        tables=tables,
        summary=tuple(line for table in tables for line in _lines(table)),
    )


def quantization_of(row: PublishedRow) -> str:
    """The quantisation scheme of a row, the last word of its quantity."""
    return row.quantity.split()[-1]


def grouped_ns(costs: CostModel, tokens: int) -> float:
    """ns of one call for a layer's experts over that many tokens, dealt out evenly."""
    layer = costs.model.moe_layers[0]
    spec = costs.model.layers[layer]
    selected = min(spec.num_experts, tokens * spec.top_k)
    each = float(costs.in_groups().expert("gpu", layer, tokens * spec.top_k / selected).ns)
    return max(selected * each + costs.group_overhead_ns("gpu"), costs.group_least_ns())


def _table(kind: tuple[str, str], rows: tuple[PublishedRow, ...]) -> Table:
    machine_name, quantization = kind
    # The law alone: the curves of shipped files are of these tables, and would test themselves.
    machine = load_machine(machine_name).model_copy(update={"curves": ()})
    cells: list[Cell] = []
    for model_name in dict.fromkeys(row.system for row in rows):
        model = load_model(model_name, quantization)
        costs = CostModel(machine=machine, model=model, is_fused=True, captures_graphs=True)
        own = (row for row in rows if row.system == model_name)
        cells.extend(
            cell_of(row, grouped_ns(costs, row.input_tokens or 1) / NS_PER_MS) for row in own
        )
    # A fit is no test of itself, so the table says which one it is.
    fitted = ", fitted on" if kind == FITTED_ON else ""
    title = f"{machine_name}, {quantization}: ms of a layer's experts{fitted}"
    return Table(
        name=f"{machine_name}_{quantization}",
        title=title,
        assumptions=ASSUMPTIONS,
        cells=tuple(cells),
    )


def _lines(table: Table) -> list[SummaryLine]:
    errors = np.abs([cell.error_fraction for cell in table.cells])
    found = {
        "median": (np.median(errors), MEDIAN_TARGET_FRACTION),
        "90th percentile": (np.quantile(errors, 0.9), P90_TARGET_FRACTION),
    }
    return [
        at_most(target).line(
            f"{table.title.split(':')[0]}: {name} error of {len(errors)} cells",
            f"{value:.1%}",
            float(value),
        )
        for name, (value, target) in found.items()
    ]
