"""The list of policies as it is kept: it is shown at once, without loading what simulates them.

A test compares ``listing.json`` with the policies; `python -m rosin.commands.policies.listing`
writes it anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

FILE = files("rosin.commands.policies") / "listing.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A policy in the list; ``parts`` names the part of each kind."""

    name: str
    summary: str
    source: str
    is_lossless: bool
    parts: dict[str, str]


def kept_listing() -> tuple[list[PolicyRow], Mapping[str, Sequence[str]]]:
    """Every policy's row, and the names of the parts of each kind."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return [PolicyRow(**row) for row in data["policies"]], data["parts"]


def listing() -> dict[str, Any]:
    """The list as the policies say it."""
    from rosin.commands.policies.document import policy_row
    from sim.policies import PARTS, POLICIES

    return {
        "policies": [asdict(policy_row(policy)) for policy in POLICIES.values()],
        "parts": {kind: sorted(classes) for kind, classes in PARTS.items()},
    }


def listing_text() -> str:
    """The text of the file."""
    return json.dumps(listing(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    from pathlib import Path

    from hwprofiles import write_text

    write_text(listing_text(), Path(str(FILE)))
