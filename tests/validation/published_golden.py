"""The kept figures of all papers: ``python -m tests.validation.published_golden [NAME ...]`` writes them.

``published_golden.csv`` holds every claim as a run without optional files gave it. A slow test runs all again
and compares; the README's first table is made from the file, and a fast test compares the two.
With names, only those papers run and the others' lines stay.
"""

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hwprofiles.text_file import write_bytes
from validation.published.claim import (
    Claim,
    Statement,
    Verdict,
    claims_of,
    sorted_claims,
    statements,
)
from validation.published.library import reproduction_names
from validation.published.overview import briefly, headline_lines

KEPT = Path(__file__).with_suffix(".csv")
COLUMNS = ("key", "published", "simulated", "value", "off_fraction", "verdict")
START, END = "<!-- headlines -->", "<!-- end of headlines -->"
"""What the README's table stands between."""


def kept_claims() -> tuple[Claim, ...]:
    """Return the claims of the file, the farthest off first, with the words of ``claims.csv``."""
    text = KEPT.read_text(encoding="utf-8")
    stated = {each.key: each for each in statements()}
    rows = csv.DictReader(text.splitlines())
    return tuple(sorted_claims([_claim(row, stated[row["key"]]) for row in rows]))


def kept_text(claims: Sequence[Claim]) -> str:
    """Return the file's text: what was found for each claim, by key."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    # Sorted by key, so that a new run changes only the lines of figures that moved.
    for claim in sorted(claims, key=lambda each: each.key):
        off = "" if claim.off_fraction is None else f"{claim.off_fraction:.4f}"
        words = [claim.key, claim.published, claim.simulated]
        writer.writerow([*words, f"{claim.value:.6g}", off, claim.verdict])
    return out.getvalue()


def with_headlines(text: str, claims: Sequence[Claim]) -> str:
    """Return a page with the table between its marks made anew. Raises ValueError without marks."""
    if START not in text or END not in text:
        raise ValueError(f"the page has no {START} and {END}")
    table = "\n".join([START, "", *headline_lines(claims), "", END])
    # A function gives the table, because a text would have its backslashes read as escapes.
    return re.sub(f"{re.escape(START)}.*{re.escape(END)}", lambda _: table, text, flags=re.DOTALL)


def main(names: Sequence[str]) -> None:
    """Run the papers, write published_golden.csv and the README's table."""
    known = {claim.key: claim for claim in kept_claims()} if names else {}
    for name in names or reproduction_names():
        # A claim that a paper no longer makes must not stay behind.
        known = {key: claim for key, claim in known.items() if not key.startswith(f"{name}:")}
        known |= {claim.key: claim for claim in claims_of(briefly(name, 0, None, None))}
        print(f"{name}: done", flush=True)
    claims = tuple(known.values())
    write_bytes(kept_text(claims).encode(), KEPT)
    # Read back: the file rounds, and equally far claims stand in its order.
    readme = Path(__file__).parents[2] / "README.md"
    text = readme.read_text(encoding="utf-8")
    write_bytes(with_headlines(text, kept_claims()).encode(), readme)


def _claim(row: dict[str, str], stated: Statement) -> Claim:
    verdict = Verdict(row["verdict"])
    return Claim(
        key=stated.key,
        paper=stated.paper,
        figure=stated.figure,
        published=row["published"],
        simulated=row["simulated"],
        value=float(row["value"]),
        off_fraction=float(row["off_fraction"]) if row["off_fraction"] else None,
        verdict=verdict,
        is_headline=stated.is_headline,
        assumed=stated.assumed,
        because="" if verdict is Verdict.CONFIRMED else stated.because,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
