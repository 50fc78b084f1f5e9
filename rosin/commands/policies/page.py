"""Policies as tables: all in a list with their parts, or one with its parameters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from rosin.commands.policies.listing import PolicyRow
from rosin.report.tables import name_column, plain_table, text_column

if TYPE_CHECKING:
    from rosin.commands.policies.document import PartDetails

KIND_MEANINGS = {
    "placement": "which experts start on the GPU",
    "cache": "which stay there, and which leave for others",
    "prefetch": "which are copied before it is known that they are needed",
    "dispatch": "what happens to a selected expert that is not there",
    "overlap": "what may work at the same time",
    "feeding": "how prompts and answers become forward passes",
}


def policy_list(
    rows: Sequence[PolicyRow[str]], parts: Mapping[str, Sequence[str]]
) -> Iterator[RenderableType]:
    """Yield the list with one line for each policy, then what each kind of part decides.

    The names of the parts stand behind each kind.
    """
    table = plain_table(name_column("policy"), *(text_column(kind) for kind in parts))
    for row in rows:
        table.add_row(row.name if row.is_lossless else f"{row.name} *", *row.parts.values())
    yield table
    if not all(row.is_lossless for row in rows):
        yield Text("* changes what the model says: not every selected expert is computed as it is")
    yield Text("\nEach part decides one thing:")
    kinds = plain_table(name_column("kind"), text_column("decides"), has_head=False)
    for kind, names in parts.items():
        kinds.add_row(kind, f"{KIND_MEANINGS[kind]}: {', '.join(names)}")
    yield kinds
    yield Text("\nrosin policies NAME says what one does, where that is from, and its parameters.")


def policy_page(details: "PolicyRow[PartDetails]") -> Iterator[RenderableType]:
    """Yield one policy's summary and source, and then each part with its parameters."""
    yield Text(f"{details.name}: {details.summary}")
    if not details.is_lossless:
        yield Text(
            "It changes what the model says: not every selected expert is computed as it is."
        )
    yield Text(f"Source: {details.source}")
    for kind, part in details.parts.items():
        yield Text()
        # Feeding is a kind without parts to choose from, so it has no name of its own.
        yield Text(
            f"{kind} ({KIND_MEANINGS[kind]}): {part.part}"
            if part.part != kind
            else f"{kind}: {KIND_MEANINGS[kind]}",
            style="bold",
        )
        yield Padding(Text(part.description), (0, 0, 0, 2))
        if part.parameters:
            yield Padding(_parameters(part), (0, 0, 0, 2))
    yield Text(
        "\nSet a parameter with --set NAME=VALUE; those marked + only in a plan file. More under rosin simulate --help."
    )


def _parameters(part: "PartDetails") -> RenderableType:
    table = plain_table(
        name_column("parameter"), text_column("value"), text_column("may be"), has_head=False
    )
    for parameter in part.parameters:
        table.add_row(
            parameter.key or f"{parameter.name} +", _shown(parameter.value), parameter.values
        )
    return table


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
