"""Print the packages that validation.gpu needs and this Python lacks, one a line, as pip takes
them.

    python -m validation.missing_packages

torch is not among them: a GPU machine has one that fits its CUDA, and it must stay. The module
imports nothing that may be missing.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NEEDED = ("numba", "numpy", "pydantic", "pyyaml", "safetensors", "scipy")
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def missing_packages() -> list[str]:
    """Return the requirements of missing packages, as pyproject.toml states them.

    A package that is installed but too old is left as it is.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["validate"]]
    by_name = {requirement.partition(">")[0]: requirement for requirement in stated}
    return [by_name[name] for name in NEEDED if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        # An import could fail for other reasons than a missing package, and takes longer.
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    print("\n".join(missing_packages()))
