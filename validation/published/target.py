"""Targets that a reproduction sets for a figure: one type for limits, ranges and rounding."""

from dataclasses import dataclass

from validation.published.reproduction import SummaryLine

NO_TARGET = "no target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The range that a figure must lie in, ends included; an end of None is open.

    ``words`` is what a table prints. Figures are rounded to ``decimals`` before they are judged.
    """

    words: str
    low: float | None = None
    high: float | None = None
    decimals: int | None = None

    def is_met(self, *figures: float) -> bool:
        """Whether all figures lie in the range."""
        return all(self._holds(figure) for figure in figures)

    def line(self, name: str, found: str, *figures: float) -> SummaryLine:
        """Return the line of a summary that judges these figures."""
        return SummaryLine(name=name, target=self.words, found=found, is_met=self.is_met(*figures))

    def _holds(self, figure: float) -> bool:
        # A paper prints few digits; what rounds to them is as good as equal.
        value = figure if self.decimals is None else round(figure, self.decimals)
        is_high_enough = self.low is None or value >= self.low
        return is_high_enough and (self.high is None or value <= self.high)


def at_most(limit: float, words: str | None = None) -> Target:
    """Return a target for a fraction that has a limit, such as a mean error."""
    return Target(words=words or f"<= {limit:.0%}", high=limit)


def at_least(limit: float) -> Target:
    """Return a target for a number without a unit that must reach a limit."""
    return Target(words=f">= {limit:g}", low=limit)


def between(low: float, high: float, unit: str) -> Target:
    """Return a target for a range that is itself published."""
    return Target(words=f"{low:g} to {high:g} {unit}", low=low, high=high)


def near(value: float, tolerance: float, words: str) -> Target:
    """Return a target for a figure at most ``tolerance`` from a value, in its unit."""
    return Target(words=words, low=value - tolerance, high=value + tolerance)


def rounded(value: float, decimals: int, words: str) -> Target:
    """Return a target for a figure that must be a value once it is rounded."""
    exact = round(value, decimals)
    return Target(words=words, low=exact, high=exact, decimals=decimals)


def errors_within(limit: float) -> Target:
    """Return a target for the errors of cells, as fractions."""
    return Target(words=f"each within ± {limit:.0%}", low=-limit, high=limit)


def untargeted(name: str, found: str) -> SummaryLine:
    """Return a line of a summary that reports a figure without a target."""
    return SummaryLine(name=name, target=NO_TARGET, found=found, is_met=None)
