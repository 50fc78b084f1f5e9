"""Compiling the kernels of bounds: they call each other across files, and take constants of the
simulator.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sim.engine.compilation import kernels_of

Function = TypeVar("Function", bound=Callable[..., Any])

bound_kernel = kernels_of(Path(__file__).parent)
"""A kernel that may make arrays of its own, kept for as long as neither this package nor the
simulator changes.
"""
