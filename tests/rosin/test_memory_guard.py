"""The guard of this computer's memory: refused in one line before anything is simulated."""

import json
from dataclasses import replace

import pytest

from hwprofiles import InputError
from planner.search import free_memory
from planner.search.plan import Setting
from rosin.__main__ import main
from rosin.cli.memory_guard import refuse_large_run
from sim.policies import POLICIES, find_policy
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.step import long

WORK = (
    "--model",
    "qwen3-30b-a3b",
    "--machine",
    "desktop-rtx-4090-ddr5",
    "--prompt-tokens",
    "16",
    "--output-tokens",
    "4000",
)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("simulate", "--policy", "lru"), "simulating lru here may take"),
        (("compare", "--policies", "fiddler,lru"), "may take"),
        (("plan",), "may take"),
        (("whatif", "--vary", "seed=1,2", "-o", "study"), "may take"),
    ],
)
def test_what_does_not_fit_is_refused(
    command: tuple[str, ...],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, with how much it takes, how much is free, and what to lower."""
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 200 * 2**20)
    assert main([command[0], *WORK, *command[1:]]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert what in err
    assert "are free on this computer; lower --batch" in err
    assert "ROSIN_MEMORY_GUARD=off" in err
    assert len(err) <= 300


def test_the_guard_may_be_overruled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who knows better sets a variable; nothing is refused then."""
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 2**20)
    monkeypatch.setenv("ROSIN_MEMORY_GUARD", "off")
    small = ("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4")
    few = ("--prompt-tokens", "4", "--output-tokens", "2", "--policy", "fiddler", "--quiet")
    assert main(["simulate", *small, *few]) == 0
    assert capsys.readouterr().err == ""


class _OfTheWhole(NextGatePrefetch):
    """A predictor that says nothing of parts."""

    comes_in_parts = False


def test_a_long_decode_needs_memory_for_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """20,000 tokens of any named system: under 1 GB. What a predictor of its own says of the whole
    run alone is refused, with the reason.
    """
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 10**9)
    scenario = Setting(
        model="qwen3-30b-a3b",
        machine="desktop-rtx-4090-ddr5",
        prompt_tokens=16,
        output_tokens=20_000,
    ).scenario(find_policy("fiddler"))
    for policy in POLICIES.values():
        refuse_large_run(replace(scenario, policy=policy), keeps_totals=True)
    with pytest.raises(InputError, match="simulating fiddler here may take"):
        refuse_large_run(scenario)
    reason = "simulating adapmoe here may take .* all of it is kept, since what its predictor"
    whole = replace(find_policy("adapmoe"), prefetch=_OfTheWhole())
    with pytest.raises(InputError, match=reason):
        refuse_large_run(replace(scenario, policy=whole), keeps_totals=True)


@pytest.mark.parametrize(
    "policy", ["fiddler", "adapmoe", "hybrimoe", "fmoe", "moe-lightning", "zero-streaming"]
)
def test_a_long_decode_shows_what_the_whole_run_shows(
    policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The document of the parts is that of the run, byte by byte but for rounding of shares."""
    small = ("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4")
    few = ("--prompt-tokens", "4", "--output-tokens", "9", "--expert-slots-per-layer", "4")
    command = ["simulate", *small, *few, "--policy", policy, "--json", "-"]
    assert main(command) == 0
    whole = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(long, "LONG_PASSES", 1)
    monkeypatch.setattr(long.simulate_long, "__defaults__", (3,))
    assert main(command) == 0
    parts = json.loads(capsys.readouterr().out)
    for each in (whole, parts):
        for resource in each["time"]:
            resource["alone_fraction"] = round(resource["alone_fraction"], 6)
            resource["kinds_s"] = {
                kind: round(seconds, 9) for kind, seconds in resource["kinds_s"].items()
            }
    assert parts == whole
