"""Engines by name: cheap to import, and honest about having to compile."""

import subprocess
import sys
from pathlib import Path

import sim.engine
from sim.engine import ENGINES, engine

ASKS = """
import sys, sim.engine
early = "numba" in sys.modules
from sim.execute import needs_compilation
print(early, needs_compilation())
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
