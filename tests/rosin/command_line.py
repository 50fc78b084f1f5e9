"""Running `rosin` as its users do, from a folder that is not the repository: in a process of its own,
or in this one, which takes a tenth of the time.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from pydantic import BaseModel, TypeAdapter

from hwprofiles import Provenance
from rosin.__main__ import main
from rosin.cli.json_output import envelope

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120
UNHEARD = ("COLUMNS", "FORCE_COLOR", "ROSIN_DEBUG")
"""Variables of whoever runs the tests that would change what a command says."""
Found = TypeVar("Found", bound=BaseModel)


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote to stdout, which must be JSON and nothing else, without NaN."""
        return json.loads(self.out, parse_constant=lambda name: f"not JSON: {name}")


def run_rosin(*arguments: str, folder: Path) -> Result:
    """Run one command in that folder, without a terminal, in this process."""
    streams = io.StringIO(), io.StringIO()
    with (
        chdir(folder),
        patch.dict(os.environ),
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
    ):
        for key in UNHEARD:
            os.environ.pop(key, None)
        exit_code = main(arguments)
    return Result(exit_code, *(stream.getvalue() for stream in streams))


def start_rosin(
    *arguments: str, folder: Path, variables: Mapping[str, str] | None = None
) -> Result:
    """Run one command of the source tree in that folder, without a terminal, in a process of its
    own.
    """
    return run_python("-m", "rosin", *arguments, folder=folder, variables=variables)


def run_python(*arguments: str, folder: Path, variables: Mapping[str, str] | None = None) -> Result:
    """Run Python with the source tree on its path, without a terminal."""
    inherited = {key: value for key, value in os.environ.items() if key not in UNHEARD}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | dict(variables or {})
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return Result(finished.returncode, finished.stdout, finished.stderr)


def assert_one_line_error(result: Result, *fragments: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that has each of the fragments."""
    assert (result.exit_code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    for fragment in fragments:
        assert fragment in result.err


def checked_result(result: type[Found], data: Mapping[str, Any]) -> Found:
    """What a command's JSON holds, complete and without unknown keys; the keys that close every
    output stand last.
    """
    closing = list(envelope({}, provenance=None, warnings=(), seed=0))
    assert list(data)[-len(closing) :] == closing
    provenance: TypeAdapter[Provenance | None] = TypeAdapter(Provenance | None)
    provenance.validate_json(json.dumps(data["provenance"]), strict=True)
    own = {key: value for key, value in data.items() if key not in closing}
    return result.model_validate_json(json.dumps(own), strict=True)
