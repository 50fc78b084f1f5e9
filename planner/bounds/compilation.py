"""Compiling the kernels of bounds: they call each other across files, and take constants of the
simulator.
"""

from pathlib import Path

from sim.engine.compilation import kernels_of

bound_kernel = kernels_of(Path(__file__).parent)
"""A kernel that may make arrays of its own, kept for as long as neither this package nor the
simulator changes.
"""
