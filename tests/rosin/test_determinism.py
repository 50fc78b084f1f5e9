"""The same question gives the same bytes: in another process, and whatever Python's hashes are."""

from pathlib import Path

import pytest

from tests.rosin.command_line import start_rosin

SMALL = ("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4")
FEW = ("--prompt-tokens", "6", "--output-tokens", "4", "--expert-slots-per-layer", "4")
COMMANDS = {
    "cache": ("simulate", *SMALL, *FEW, "--policy", "lru"),
    "prefetch": ("simulate", *SMALL, *FEW, "--policy", "fmoe"),
    "serving": (
        *("simulate", *SMALL, "--policy", "on-demand", "--requests", "25"),
        *("--workload", "lmbenchmark-long-in-short-out"),
    ),
    "plan": ("plan", *SMALL, "--prompt-tokens", "6", "--output-tokens", "4", "--draws", "2"),
    "runtime": (*("simulate", *SMALL, "--runtime", "llama.cpp"), "--runtime-args", "-ngl 99"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_write_the_same(name: str, tmp_path: Path) -> None:
    """The JSON is equal byte by byte, with other seeds of Python's hashes."""
    texts = []
    for hash_seed in ("1", "2"):
        variables = {"PYTHONHASHSEED": hash_seed}
        found = start_rosin(*COMMANDS[name], "--json", "-", folder=tmp_path, variables=variables)
        assert found.exit_code == 0, found.err
        texts.append(found.out)
    assert texts[0] == texts[1]
