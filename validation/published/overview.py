"""All papers at once: one page of every headline and every table, sorted by how far off each is."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwprofiles.text_file import make_folder, write_bytes
from validation.published.claim import Claim, Verdict, claims_of, sorted_claims
from validation.published.fmoe.tables import Extent, reproduce_fmoe
from validation.published.library import ABOUT_REQUESTS, REPRODUCTIONS
from validation.published.reproduction import Reproduction

ALL = "all"
"""The name with which ``rosin reproduce`` takes all papers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Every claim, the farthest off first."""

    seed: int
    claims: tuple[Claim, ...]

    def counted(self) -> str:
        """Return how many claims have which verdict, in words."""
        counts = Counter(claim.verdict for claim in self.claims)
        return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)


def overview(
    seed: int = 0,
    popularity: Path | None = None,
    requests: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Overview:
    """Reproduce every paper, without the sweeps that only one paper's own page shows.

    Raises InputError where a file cannot be read.
    """
    found: list[Claim] = []
    for name in sorted(REPRODUCTIONS):
        progress(name)
        found += claims_of(briefly(name, seed, popularity, requests))
    return Overview(seed=seed, claims=tuple(sorted_claims(found)))


def briefly(name: str, seed: int, popularity: Path | None, requests: Path | None) -> Reproduction:
    """Return one paper's tables, without sweeps. The paper gets the file that it takes."""
    if name == "fmoe":
        # Its sweeps take minutes, and no claim rests on them.
        return reproduce_fmoe(seed, None, Extent.without_sweeps())
    # Other papers refuse a file of popularity, so only Fiddler gets it.
    given = {"fiddler": popularity} | dict.fromkeys(ABOUT_REQUESTS, requests)
    return REPRODUCTIONS[name](seed, given.get(name))


def write_overview(page: Overview, folder: Path) -> tuple[Path, ...]:
    """Write all.md and all.csv into the folder (made if absent); return their paths.

    Raises InputError where the folder cannot be written.
    """
    make_folder(folder)
    contents: Mapping[Path, str] = {
        folder / "all.md": markdown_text(page),
        folder / "all.csv": csv_text(page.claims),
    }
    for path, content in contents.items():
        write_bytes(content.encode(), path)
    return tuple(contents)


def csv_text(claims: Sequence[Claim]) -> str:
    """Return the claims as CSV, one line for each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "key",
            "paper",
            "figure",
            "published",
            "simulated",
            "value",
            "off_fraction",
            "verdict",
            "because",
            "assumed",
        ]
    )
    for claim in claims:
        off = "" if claim.off_fraction is None else f"{claim.off_fraction:.4f}"
        figures = [claim.published, claim.simulated, f"{claim.value:.6g}", off, claim.verdict]
        writer.writerow(
            [claim.key, claim.paper, claim.figure, *figures, claim.because, claim.assumed]
        )
    return out.getvalue()


def markdown_text(page: Overview) -> str:
    """Return the page in Markdown: every claim with its verdict, the reason, and the
    assumptions.
    """
    lines = [
        "# Published figures against the simulator",
        "",
        f"Seed {page.seed}. {page.counted()}. Sorted by how far off; orders and signs come last.",
        "",
        "| paper | figure | published | simulated | off by | verdict | why | assumed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_columns(claim))} |" for claim in page.claims]
    return "\n".join(lines) + "\n"


def headline_lines(claims: Sequence[Claim]) -> list[str]:
    """Return the README's first table: the headlines, the farthest off first."""
    lines = ["| paper | published | simulated | verdict |", "|---|---|---|---|"]
    for claim in sorted_claims([each for each in claims if each.is_headline]):
        figure = f"{claim.figure}: {claim.published}"
        lines.append(f"| {claim.paper} | {figure} | {claim.simulated} | {_verdict(claim)} |")
    return lines


def _columns(claim: Claim) -> list[str]:
    off = "–" if claim.off_fraction is None else f"{claim.off_fraction:.0%}"
    figures = [claim.published, claim.simulated, off, _verdict(claim)]
    return [claim.paper, claim.figure, *figures, claim.because or "–", claim.assumed or "–"]


def _verdict(claim: Claim) -> str:
    word = str(claim.verdict)
    return word if claim.verdict is Verdict.CONFIRMED else f"**{word}**"
