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
from sim.step.execute import needs_compilation
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

TAKES_IN = """
import sys
import numpy as np
from parts import part, whole
if "part" in sys.argv:
    part(np.ones(3))
print(len(whole.signatures), whole(np.ones(3)), *(sum(kernel.stats.cache_hits.values()) for kernel in (part, whole)))
try:
    whole(np.ones(1))
except ValueError as error:
    print(error)
"""

PARTS = """
import numpy as np
from sim.engine.compilation import allocating_kernel

@allocating_kernel
def part(values):
    if len(values) < 2:
        raise ValueError("too few")
    return np.sort(values).sum()

@allocating_kernel
def whole(values):
    return part(values) + np.zeros(2).sum()
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
    assert {name: engine(name).name for name in ENGINES} == {
        "fast": "fast",
        "reference": "reference",
    }


def test_a_kept_kernel_is_loaded_without_scipy(tmp_path: Path) -> None:
    """The second process compiles nothing, imports no scipy and draws the same; both can compile a
    product of matrices afterwards.
    """
    root = Path(sim.engine.__file__).parents[2]
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    run = partial(
        subprocess.run,
        [sys.executable, "-c", LOADS],
        cwd=root,
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    compiled, loaded = (run().stdout.splitlines() for _ in range(2))
    assert compiled[0].split()[:2] == ["0", "1"]
    assert loaded[0].split()[:3] == ["1", "0", "False"]
    assert compiled[0].split()[3:] == loaded[0].split()[3:]
    assert compiled[1] == loaded[1] == "[[1.0, 0.0], [0.0, 1.0]]"


def test_a_kept_kernel_is_taken_into_one_compiled_anew(tmp_path: Path) -> None:
    """A process that loads a kernel from disk and compiles one that calls it finds what a process
    that compiles both finds.
    """
    root, parts = Path(sim.engine.__file__).parents[2], tmp_path / "parts.py"
    parts.write_text(PARTS)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": f"{root}:{tmp_path}"}
    run = partial(
        subprocess.run, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True
    )
    both = run([sys.executable, "-c", TAKES_IN, "part"]).stdout.splitlines()
    for kept in tmp_path.glob("kept/**/parts.whole*"):
        kept.unlink()
    anew, loaded = (
        run([sys.executable, "-c", TAKES_IN, "part"]).stdout.splitlines() for _ in range(2)
    )
    assert [both, anew, loaded] == [
        ["0 3.0 0 0", "too few"],
        ["0 3.0 1 0", "too few"],
        ["0 3.0 1 1", "too few"],
    ]
