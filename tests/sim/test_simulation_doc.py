"""The page that explains a simulation shows what the code does."""

import doctest

from tests.source_tree import ROOT


def test_the_examples_of_the_page_are_true() -> None:
    """Every line of docs/explanation/simulation.md that starts with >>> gives what stands below it."""
    page = ROOT / "docs" / "explanation" / "simulation.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 15 and result.failed == 0
