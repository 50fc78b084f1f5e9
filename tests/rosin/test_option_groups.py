"""Options that commands take as one object."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from rosin.cli.option_groups import OptionGroup, with_groups

RUNS: list[tuple[object, ...]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where(OptionGroup):
    machine: Annotated[str, typer.Option("--machine")]
    cards: Annotated[int, typer.Option("--cards")] = 1


def _command(
    *,
    name: Annotated[str, typer.Argument()],
    where: _Where,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
) -> None:
    """Run it."""
    RUNS.append((name, where, quiet))


def test_a_group_stands_where_its_parameter_stood() -> None:
    """Its options come in the order of its fields, with their defaults; the others stay."""
    parameters = inspect.signature(with_groups(_command)).parameters
    assert list(parameters) == ["name", "machine", "cards", "quiet"]
    assert parameters["machine"].default is inspect.Parameter.empty
    assert parameters["cards"].default == 1
    assert with_groups(_command).__doc__ == "Run it."


def test_a_command_gets_the_group_as_one_object() -> None:
    """What was typed is in the group; a required option of it is asked for."""
    app = typer.Typer()
    app.command()(with_groups(_command))
    RUNS.clear()
    result = CliRunner().invoke(app, ["a", "--machine", "pc", "--quiet"])
    assert result.exit_code == 0, result.output
    assert [("a", _Where(machine="pc", cards=1), True)] == RUNS
    assert CliRunner().invoke(app, ["a"]).exit_code == 2
