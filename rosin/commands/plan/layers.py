"""The number of experts on the GPU in each layer, for the page of a plan."""

from rich.table import Table

from rosin.commands.plan.words import layer_counts
from rosin.report.tables import number_column, plain_table, share_bar, text_column
from sim.step.simulate import Run

MAX_GROUPS = 8
"""The most groups of layers that are listed line by line; more groups become a grid of counts."""
LAYERS_PER_LINE = 15


def layer_table(run: Run) -> Table:
    """Return a table of how many experts of each MoE layer the GPU holds."""
    groups = layer_counts(run)
    return _layer_lines(run, groups) if len(groups) <= MAX_GROUPS else _layer_grid(run)


def _layer_lines(run: Run, groups: list[tuple[str, int]]) -> Table:
    total = run.scenario.model.num_experts
    table = plain_table(
        text_column("Experts on the GPU", width=18),
        number_column(f"of {total}", width=6),
        text_column("", width=50),
    )
    for layers, count in groups:
        table.add_row(layers, str(count), share_bar(count / total, 32))
    return table


def _layer_grid(run: Run) -> Table:
    """Return a grid with the count of every MoE layer, LAYERS_PER_LINE layers on a line."""
    held = run.residency.experts.sum(axis=1)
    total = run.scenario.model.num_experts
    table = plain_table(
        text_column("Experts on the GPU", width=18),
        text_column(f"of {total}, one figure a layer", width=61),
    )
    all_layers = run.scenario.model.moe_layers
    for start in range(0, len(all_layers), LAYERS_PER_LINE):
        layers = all_layers[start : start + LAYERS_PER_LINE]
        table.add_row(
            f"layers {layers[0]}–{layers[-1]}",
            " ".join(f"{held[layer]:{len(str(total))}d}" for layer in layers),
        )
    return table
