"""`rosin policies`: the list, one policy, and that what it says can be set can be set."""

import pytest

from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.commands.policies.document import policy_details
from rosin.commands.policies.keeping import listing_text
from rosin.commands.policies.listing import FILE
from sim.policies import PARTS, POLICIES, find_policy, parameter_names, with_settings
from tests.rosin.scenarios import json_of, text_of


def test_list_names_every_policy_and_part(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a policy with the part of each kind, and below the parts there are."""
    lines = text_of(capsys, "policies").splitlines()
    for policy, row in zip(POLICIES, json_of(capsys, "policies")["policies"], strict=True):
        line = next(line for line in lines if line.split()[:1] == [policy])
        mark = [] if row["is_lossless"] else ["*"]
        assert line.split()[1:] == mark + " ".join(row["parts"].values()).split()
    assert json_of(capsys, "policies")["parts"] == {
        kind: sorted(parts) for kind, parts in PARTS.items()
    }


def test_the_kept_list_is_that_of_the_policies() -> None:
    """What is shown without loading the policies is what they say."""
    assert FILE.read_text(encoding="utf-8") == listing_text(), (
        "run: python -m rosin.commands.policies.keeping"
    )


@pytest.mark.parametrize("name", POLICIES)
def test_page_shows_every_parameter(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Summary, source, and each parameter with the key that --set takes."""
    policy = find_policy(name)
    text = " ".join(text_of(capsys, "policies", name).split())
    assert " ".join(policy.summary.split()) in text
    assert " ".join(policy.source.split()) in text
    shown = json_of(capsys, "policies", name)["policy"]["parts"]
    assert sum(
        parameter["key"] is not None for part in shown.values() for parameter in part["parameters"]
    ) == len(parameter_names(policy))


@pytest.mark.parametrize("name", POLICIES)
def test_shown_keys_can_be_set(name: str) -> None:
    """Setting every parameter to the value it has changes nothing, by the key that the page shows."""
    policy = find_policy(name)
    parameters = [
        parameter
        for part in policy_details(policy).parts.values()
        for parameter in part.parameters
        if parameter.key
    ]
    settings = {parameter.key: str(parameter.value) for parameter in parameters if parameter.key}
    assert with_settings(policy, settings) == policy


def test_unknown_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name comes with the nearest."""
    assert main(["policies", "fidler"]) == ExitCode.WRONG_INPUT
    assert "did you mean 'fiddler'?" in capsys.readouterr().err
