"""Parts of kernels: optimised within their kernel alone, and compiled once for integers."""

import subprocess
import sys

import numba

from sim.engine.compilation import by_itself, inner, part, settled


@inner
def _sum(first, second):  # type: ignore[no-untyped-def]
    return first + second


@part
def _twice(number):  # type: ignore[no-untyped-def]
    return _sum(number, number)


@numba.njit  # not kept on disk, so that every test compiles it
def _all(number):  # type: ignore[no-untyped-def]
    return _twice(number) + _sum(number, 1) + _sum(number, 2)


def test_a_part_is_compiled_once_for_integers() -> None:
    """Constants do not make a part be compiled anew."""
    assert _all(3) == 15
    assert len(_sum.signatures) == 1  # type: ignore[attr-defined]


def test_a_part_can_be_a_kernel_by_itself() -> None:
    """Python calls it either way."""
    assert by_itself(_twice)(4) == _twice(4) == 8


def test_a_settled_kernel_asks_for_types_once() -> None:
    """It computes what the kernel does, and takes later arguments for what the first ones were."""
    twice = settled(by_itself(_twice))
    assert [twice(number) for number in (4, 5)] == [8, 10]
    assert twice(2.5) == 4 and by_itself(_twice)(2.5) == 5.0


def test_policies_are_listed_without_numba() -> None:
    """Importing the policies loads neither numba nor what draws routings."""
    code = "import sys, sim.policies; print({'numba', 'sim.routing'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
