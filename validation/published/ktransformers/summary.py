"""The targets of the placement grid, and whether they are met."""

from validation.published.ktransformers.ranking import Ranking
from validation.published.reproduction import SummaryLine
from validation.published.target import Target, at_least, untargeted

LEAST_TAU = 0.6

BLIND = ("random", "uniform")
"""Placements that go by expert numbers alone; the simulator cannot distinguish them."""


def summary_of(usual: Ranking, other: Ranking, *, needed: str) -> tuple[SummaryLine, ...]:
    """Return targets for hand-overs in every layer, and other figures without a target.

    The latter are of runs in which only layers with experts on the CPU hand over.
    """
    return (
        at_least(LEAST_TAU).line(
            "Kendall's tau, 45 cells, 10 to 90 %", f"{usual.tau:.2f}", usual.tau
        ),
        _extreme("best", usual, usual.right_best(), has_target=True),
        _extreme("worst", usual, usual.right_worst(), has_target=True),
        _extreme(
            "worst", usual, usual.right_worst(BLIND), suffix=f", {' and '.join(BLIND)} as one"
        ),
        untargeted("tau within a share, mean", f"{usual.tau_within_shares:.2f}"),
        # This says how much of the tau above the shares give without any placement.
        untargeted("tau of the share alone", f"{usual.tau_of_shares_alone:.2f}"),
        untargeted(f"Kendall's tau, {needed}", f"{other.tau:.2f}"),
        untargeted(f"tau within a share, {needed}", f"{other.tau_within_shares:.2f}"),
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
    name = f"{which} placement of a share{suffix}"
    if not has_target:
        return untargeted(name, found)
    target = Target(words=f"right within {ranking.noise_fraction:.1%}", high=0.0)
    return target.line(name, found, float(len(wrong)))


def _spelt(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
