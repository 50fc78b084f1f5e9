"""Choices in measured cases: regret, order, ties, arms left out, and the published cases."""

import csv
from functools import cache
from pathlib import Path

import pytest

from hwprofiles import InputError, load_machine
from sim.runtimes import RuntimeHost, runtime_host
from tests.shared_data import shared_data
from tests.validation.accuracy.synthetic import host_of
from validation.accuracy import (
    CaseAccuracy,
    choose_in_cases,
    read_cases,
    read_rows,
    summary_of,
)

COLUMNS = [
    "case",
    "phase",
    "arm",
    "machine",
    "model",
    "quantization",
    "runtime",
    "args",
    "tokens_per_s",
    "relative_to_base",
    "note",
]
PLAIN = ("plain + DDR", "qwen3-30b-a3b", "Q4_K_M", "llama.cpp")


def _write(path: Path, arms: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(arms)
    return path


def _arm(
    name: str, args: str, speed: str, note: str = "", phase: str = "decode"
) -> tuple[str, ...]:
    return ("one", phase, name, *PLAIN, args, speed, "", note)


def _choices(path: Path, arms: list[tuple[str, ...]]) -> tuple[CaseAccuracy, ...]:
    return choose_in_cases(read_cases(_write(path / "cases.csv", arms)), [], host_of)


def test_regret_is_what_the_choice_loses(tmp_path: Path) -> None:
    """The arm predicted fastest is chosen; its measured loss against the measured best is the regret."""
    arms = [
        _arm("all on the CPU", "-ngl 99 -cmoe", "50"),
        _arm("half", "-ngl 99 -ncmoe 24", "40"),
    ]
    (case,) = _choices(tmp_path, arms)
    assert (case.chosen_arm, case.best_arm) == ("half", "all on the CPU")
    assert case.regret_fraction == pytest.approx(0.2)
    assert case.kendall_tau == -1


def test_arms_may_be_left_out(tmp_path: Path) -> None:
    """An arm whose note says so is neither chosen nor the best."""
    arms = [
        _arm("all on the CPU", "-ngl 99 -cmoe", "50"),
        _arm("half", "-ngl 99 -ncmoe 24", "60"),
        _arm("none", "-ngl 99 -ncmoe 0", "90", "leave out of regret"),
    ]
    (case,) = _choices(tmp_path, arms)
    assert (case.chosen_arm, case.best_arm, case.regret_fraction) == ("half", "half", 0)


def test_larger_micro_batch_wins_a_tie(tmp_path: Path) -> None:
    """Decoding is predicted alike for every micro-batch: the larger one reads no more."""
    arms = [
        _arm("small", "-ngl 99 -cmoe -ub 512", "50"),
        _arm("large", "-ngl 99 -cmoe -ub 2048", "50"),
    ]
    (case,) = _choices(tmp_path, arms)
    assert case.chosen_arm == "large"
    assert case.kendall_tau is None


def test_arm_that_cannot_be_predicted_says_why(tmp_path: Path) -> None:
    """Fewer than two predicted arms leave nothing to choose; the reason stands beside the arm."""
    arms = [
        _arm("all on the CPU", "-ngl 99 -cmoe", "50"),
        _arm("unknown", "--no-such-flag", "60"),
    ]
    (case,) = _choices(tmp_path, arms)
    assert case.chosen_arm is None and case.regret_fraction is None
    assert "unknown flag" in str(case.arms[1].reason)
    with pytest.raises(InputError, match="nothing was chosen"):
        summary_of([case])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,phase\n", "column arm is missing"),
        (",".join(COLUMNS) + "\n", "no cases"),
        (",".join(COLUMNS) + "\na,warm,b,c,d,e,f,g,1,,\n", "neither decode nor prefill"),
        (",".join(COLUMNS) + "\na,decode,b,c,d,e,f,g,fast,,\n", "must be a number above 0"),
    ],
)
def test_mistakes_in_cases(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake is one line that names the place."""
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_cases(path)


@cache
def _host(line: str) -> RuntimeHost:
    return runtime_host(load_machine(line))


@cache
def _published() -> tuple[CaseAccuracy, ...]:
    cases = read_cases(shared_data("runtimes/chooser.csv"))
    return choose_in_cases(cases, read_rows(shared_data("runtimes/rows.csv")), _host)


def test_published_cases_are_chosen_right() -> None:
    """The best or within 5 % of it in 90 % of the cases, 3 % lost in the median, 15 % at worst."""
    summary = summary_of(_published())
    assert summary.within_5_percent_fraction >= 0.9
    assert summary.median_regret_fraction <= 0.03
    assert summary.worst_regret_fraction <= 0.15


def test_choice_is_never_worse_than_the_tools_own() -> None:
    """FreeToken chose hybrid in its issue 151 and lost a factor of 8; copying is chosen here."""
    case = next(case for case in _published() if case.case == "ft151")
    assert case.chosen_arm == case.best_arm == "offload"


def test_fetching_pays_on_every_host_of_the_panel() -> None:
    """On each of the five hosts, at both sizes, splitting misses is predicted faster than the CPU alone."""
    panel = [case for case in _published() if case.case.startswith("msl099")]
    assert len(panel) == 10
    assert {case.chosen_arm for case in panel} == {"expert cache, misses split"}


@pytest.mark.parametrize("model", ["gpt-oss-120b", "qwen3-30b-a3b"])
def test_ladder_of_policies_is_in_order(model: str) -> None:
    """Stock layers, a fixed set, an LRU and decayed frequency are in the published order of speeds."""
    case = next(case for case in _published() if case.case == f"msl087 {model} 25 % ladder")
    ladder = [
        arm
        for arm in case.arms
        if arm.arm.startswith(("layers", "static experts, prof", "LRU", "decayed"))
    ]
    assert len(ladder) == 5
    predicted = [
        arm.arm for arm in sorted(ladder[:4], key=lambda arm: arm.predicted_tokens_per_s or 0)
    ]
    measured = [arm.arm for arm in sorted(ladder[:4], key=lambda arm: arm.measured)]
    assert predicted == measured
