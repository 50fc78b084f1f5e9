"""Compilation of the bounds' kernels, which call each other across files and use constants of the
simulator.
"""

from pathlib import Path

from sim.engine.compilation import kernels_of

bound_kernel = kernels_of(Path(__file__).parent)
"""Compile a function as a kernel that may make arrays of its own.

Its compiled form is kept for as long as neither this package nor the simulator changes.
"""
