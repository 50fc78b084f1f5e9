"""The list of policies, kept in a file so that it is shown without loading the simulator.

A test compares ``listing.json`` with the policies. `python -m rosin.commands.policies.keeping`
writes the file anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Generic, TypeVar

FILE = files("rosin.commands.policies") / "listing.json"


ShownPart = TypeVar("ShownPart")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow(Generic[ShownPart]):
    """A policy with its ``parts`` by kind: in the list by name, on its own page in words."""

    name: str
    summary: str
    source: str
    is_lossless: bool
    parts: dict[str, ShownPart]


def kept_listing() -> tuple[list[PolicyRow[str]], Mapping[str, Sequence[str]]]:
    """Every policy's row, and the names of the parts of each kind."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return [PolicyRow(**row) for row in data["policies"]], data["parts"]
