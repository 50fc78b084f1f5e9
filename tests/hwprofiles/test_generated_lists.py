"""Lists of parts drawn from the library, and misspelt names of it (benchmarks/understood.py)."""

from benchmarks.understood import generated_lists, is_helped, is_meant, misspelt_names

NUM_LISTS = 60
NUM_MISSPELT = 10
SEED = 7
"""Another one than the page's figures are of."""


def test_a_list_is_the_machine_that_it_was_written_from() -> None:
    """GPUs, CPU and memory, in each way of writing."""
    lists = list(generated_lists(NUM_LISTS, SEED))
    assert [each.line for each in lists if not is_meant(each)] == []


def test_a_misspelt_name_gets_the_right_one() -> None:
    """Among those that the error names."""
    names = list(misspelt_names(NUM_MISSPELT, SEED))
    assert [slip for slip, name in names if not is_helped(slip, name)] == []
