"""Engines by name: cheap to import, and honest about having to compile."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import sim.engine
from sim.engine import ENGINES, engine

ASKS = """
import sys, sim.engine
early = "numba" in sys.modules
from sim.execute import needs_compilation
print(early, needs_compilation())
"""

LOADS = """
import sys
import numpy as np
from sim.routing.generated import draw
from sim.routing.successive import _choose_alike as kernel
drawn = draw(np.full((1, 4), 0.25), 5, 2, np.random.default_rng(0))
print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()), "scipy.linalg" in sys.modules, drawn.tolist())
import scipy.linalg.cython_blas
from numba import njit
print(njit(lambda a: a @ a)(np.eye(2)).tolist())
"""


def test_importing_engines_does_not_import_the_compiler(tmp_path: Path) -> None:
    """The compiler comes with the fast engine; with an empty cache it would have to compile."""
    root = Path(sim.engine.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", ASKS],
        cwd=root,
        env={"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"False", b"True"]


def test_engines_are_named_after_themselves() -> None:
    """The table and the engines agree."""
    assert {name: engine(name).name for name in ENGINES} == {"fast": "fast", "reference": "reference"}


def test_a_kept_kernel_is_loaded_without_scipy(tmp_path: Path) -> None:
    """The second process compiles nothing, imports no scipy and draws the same; both can compile a product of matrices afterwards."""
    root = Path(sim.engine.__file__).parents[2]
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    run = partial(subprocess.run, [sys.executable, "-c", LOADS], cwd=root, env=environment, capture_output=True, check=True, text=True)
    compiled, loaded = (run().stdout.splitlines() for _ in range(2))
    assert compiled[0].split()[:2] == ["0", "1"]
    assert loaded[0].split()[:3] == ["1", "0", "False"]
    assert compiled[0].split()[3:] == loaded[0].split()[3:]
    assert compiled[1] == loaded[1] == "[[1.0, 0.0], [0.0, 1.0]]"
