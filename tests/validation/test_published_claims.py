"""One page of every paper's claims: verdicts, order, the kept figures, the README's table."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.validation.published_golden import kept_claims, with_headlines
from tests.validation.reproduced import papers_once  # noqa: F401  # a fixture
from validation.published import overview, reproduction_names, write_overview
from validation.published.claim import Claim, Verdict, sorted_claims, statements
from validation.published.overview import Overview
from validation.published.target import at_least, at_most, between, near, rounded, untargeted

TOLERANCE_FRACTION = 0.02
"""How far a figure may be from the kept one."""

ROOT = Path(__file__).parents[2]
NEEDS_A_FILE = {"fiddler:hits", "lmcache:hits"}
"""Claims that need a file which is not part of the project."""


def test_every_paper_has_claims() -> None:
    """Each reproduction has one claim at least, and each key is its own."""
    keys = [each.key for each in statements()]
    assert len(keys) == len(set(keys))
    assert {key.partition(":")[0] for key in keys} == set(reproduction_names())


def test_every_claim_is_kept_and_every_failure_explained() -> None:
    """The file has all claims but those that need a file; what is not confirmed says why."""
    kept = kept_claims()
    assert {claim.key for claim in kept} == {each.key for each in statements()} - NEEDS_A_FILE
    for claim in kept:
        assert bool(claim.because) == (claim.verdict is not Verdict.CONFIRMED), claim.key
        words = ("missing: ", "arithmetic: ") if claim.because else ""
        assert claim.because.startswith(words), claim.key


def test_the_readme_shows_the_headlines_failures_included() -> None:
    """Its first table is what the kept figures give, word by word."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_headlines(text, kept_claims()) == text
    assert "**open**" in text


def test_farthest_off_first() -> None:
    """Numbers by how far off, then orders, those that are missed first."""
    claims = sorted_claims([replace(_claim("a"), off_fraction=None), _claim("b"), _claim("c", 0.5)])
    assert [claim.key for claim in claims] == ["c", "b", "a"]


def test_page_and_csv(tmp_path: Path) -> None:
    """Both files have every claim; the page counts the verdicts."""
    page = Overview(seed=0, claims=kept_claims())
    markdown, table = write_overview(page, tmp_path / "new")
    assert len(table.read_text(encoding="utf-8").splitlines()) == 1 + len(page.claims)
    text = markdown.read_text(encoding="utf-8")
    assert page.counted() in text
    assert all(claim.figure in text for claim in page.claims)


@pytest.mark.parametrize(
    ("target", "good", "bad"),
    [
        (at_most(0.2), 0.2, 0.21),
        (at_least(0.6), 0.6, 0.59),
        (between(2.0, 3.0, "times"), 3.0, 3.1),
        (near(10.0, 1.0, "10 ± 1"), 9.0, 8.9),
        (rounded(4.61, 2, "4.61 %"), 4.6149, 4.6151),
    ],
)
def test_targets(target: object, good: float, bad: float) -> None:
    """One type judges limits, ranges and rounded figures."""
    assert target.line("name", "found", good).is_met  # type: ignore[attr-defined]
    assert not target.line("name", "found", good, bad).is_met  # type: ignore[attr-defined]


def test_a_line_without_a_target_is_not_judged() -> None:
    """It is neither met nor missed."""
    assert untargeted("name", "found").is_met is None


@pytest.mark.slow
@pytest.mark.usefixtures("papers_once")
def test_all_papers_give_the_kept_figures() -> None:
    """Every claim within 2 % of the kept figure, with the kept verdict."""
    kept = {claim.key: claim for claim in kept_claims()}
    found = {claim.key: claim for claim in overview().claims}
    assert found.keys() == kept.keys()
    for key, claim in found.items():
        assert claim.value == pytest.approx(kept[key].value, rel=TOLERANCE_FRACTION, abs=1e-3), key
        assert claim.verdict is kept[key].verdict, key


def _claim(key: str, off: float = 0.1) -> Claim:
    return Claim(
        key=key,
        paper="paper",
        figure="figure",
        published="1",
        simulated="1",
        value=1.0,
        off_fraction=off,
        verdict=Verdict.CONFIRMED,
        is_headline=False,
        assumed="",
        because="",
    )
