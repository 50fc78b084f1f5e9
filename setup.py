"""Build step of the wheel: with ROSIN_KERNELS=1, compile its kernels for x86-64-v3 and pack them.

    ROSIN_KERNELS=1 python -m build --wheel --no-isolation

Everything else about the package stands in pyproject.toml.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithKernels(build_py):
    """Copies the modules, then has them compile their own kernels beside them."""

    def run(self) -> None:
        """Build as setuptools does, then add kernels where the environment asks for them."""
        super().run()
        if os.environ.get("ROSIN_KERNELS") != "1" or self.editable_mode:
            return
        built = Path(self.build_lib).resolve()
        target = built / "sim" / "engine" / "shipped"
        with tempfile.TemporaryDirectory() as cache:
            subprocess.run(
                [sys.executable, "-m", "planner.search.ship", str(target)],
                cwd=built,
                env={
                    **os.environ,
                    "PYTHONPATH": str(built),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "NUMBA_CACHE_DIR": cache,
                    "NUMBA_CPU_NAME": "x86-64-v3",
                    "NUMBA_CPU_FEATURES": "",
                },
                check=True,
            )


setup(cmdclass={"build_py": BuildWithKernels})
