"""A study of cache policies, for a person: misses by policy, and the optimum's misses by model."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from rosin.commands.caches.result import CacheStudyResult
from rosin.report.tables import name_column, number_column, plain_table


def caches_page(result: CacheStudyResult) -> Iterator[RenderableType]:
    """Yield two tables over the shares of experts that are cached.

    The first has a line for each policy with its misses over the optimum's. The second has a line
    for each model with the optimum's share of misses.
    """
    shares = list(dict.fromkeys(item.share for item in result.medians))
    over = {(item.policy, item.share): item.over_optimum for item in result.medians}
    num_models = len({row.model for row in result.rows})
    yield Text(f"misses over the optimum's, median over {num_models} models, by share cached\n")
    table = plain_table(name_column("policy"), *(number_column(f"{share:g}") for share in shares))
    for policy in dict.fromkeys(item.policy for item in result.medians):
        table.add_row(policy, *(f"{over[policy, share]:.2f}" for share in shares))
    yield table
    yield Text("\nchoices that miss under the optimum\n")
    best = plain_table(name_column("model"), *(number_column(f"{share:g}") for share in shares))
    found = {
        (row.model, row.share): row.miss_fraction for row in result.rows if row.policy == "optimum"
    }
    for model in dict.fromkeys(row.model for row in result.rows):
        best.add_row(model, *(f"{100 * found[model, share]:.1f} %" for share in shares))
    yield best
