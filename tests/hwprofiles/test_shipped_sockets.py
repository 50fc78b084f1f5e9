"""Machines that ship state their sockets and what is reached of their memory."""

import pytest

from hwprofiles import load_machine, machine_names


@pytest.mark.parametrize("name", machine_names())
def test_nothing_is_assumed_of_a_machine_that_ships(name: str) -> None:
    """Not even of those with two sockets."""
    assert load_machine(name).assumptions == ()
