"""The targets of the placement grid, and whether they are met."""

from validation.published.ktransformers.ranking import Ranking
from validation.published.reproduction import SummaryLine

LEAST_TAU = 0.6

BLIND = ("random", "uniform")
"""Placements that go by expert numbers alone: nothing that is simulated tells one from the other.
"""


def summary_of(usual: Ranking, other: Ranking, *, needed: str) -> tuple[SummaryLine, ...]:
    """Targets for hand-overs in every layer; the same figures without a target where only layers
    with experts on the CPU hand over.
    """
    return (
        SummaryLine(
            name="Kendall's tau, 45 cells, 10 to 90 %",
            target=f">= {LEAST_TAU:g}",
            found=f"{usual.tau:.2f}",
            is_met=usual.tau >= LEAST_TAU,
        ),
        _extreme("best", usual, usual.right_best(), has_target=True),
        _extreme("worst", usual, usual.right_worst(), has_target=True),
        _extreme(
            "worst", usual, usual.right_worst(BLIND), suffix=f", {' and '.join(BLIND)} as one"
        ),
        SummaryLine(
            name="tau within a share, mean",
            target="no target",
            found=f"{usual.tau_within_shares:.2f}",
            is_met=None,
        ),
        SummaryLine(
            name="tau of the share alone",
            target="no target",
            found=f"{usual.tau_of_shares_alone:.2f}",
            is_met=None,
        ),
        SummaryLine(
            name=f"Kendall's tau, {needed}",
            target="no target",
            found=f"{other.tau:.2f}",
            is_met=None,
        ),
        SummaryLine(
            name=f"tau within a share, {needed}",
            target="no target",
            found=f"{other.tau_within_shares:.2f}",
            is_met=None,
        ),
        _extreme("best", other, other.right_best(), suffix=f", {needed}"),
        _extreme("worst", other, other.right_worst(), suffix=f", {needed}"),
    )


def _extreme(
    which: str, ranking: Ranking, right: list[float], *, suffix: str = "", has_target: bool = False
) -> SummaryLine:
    wrong = [share for share in ranking.shares if share not in right]
    found = f"{len(right)} of {len(ranking.shares)} shares" + (
        f"; wrong at {_spelt(wrong)}" if wrong else ""
    )
    return SummaryLine(
        name=f"{which} placement of a share{suffix}",
        target=f"right but for {ranking.noise_fraction:.1%}" if has_target else "no target",
        found=found,
        is_met=not wrong if has_target else None,
    )


def _spelt(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
