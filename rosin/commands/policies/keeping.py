"""Writes the list of policies that is kept: `python -m rosin.commands.policies.keeping`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwprofiles import write_text
from rosin.commands.policies.document import policy_row
from rosin.commands.policies.listing import FILE
from sim.policies import PARTS, POLICIES


def listing() -> dict[str, Any]:
    """Return the list of policies, made from the policies themselves."""
    return {
        "policies": [asdict(policy_row(policy)) for policy in POLICIES.values()],
        "parts": {kind: sorted(classes) for kind, classes in PARTS.items()},
    }


def listing_text() -> str:
    """Return the text of ``listing.json``."""
    return json.dumps(listing(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_text(listing_text(), Path(str(FILE)))
