"""`rosin machines`: list the machines, or show one with the provenance of every number."""

from collections.abc import Sequence
from typing import Annotated

import typer

from rosin.cli.options import JsonOption, QuietOption, SeedOption, SetOption
from rosin.cli.output import Output


def machines(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A machine's name, or a machine file.", show_default=False)] = None,
    overrides: SetOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """List the machines, or show one with where its numbers are from."""
    output = Output(json=json, seed=seed, quiet=quiet)
    if name is None:
        _list(output, overrides or ())
    else:
        _show(name, output, overrides or ())


def _list(output: Output, overrides: Sequence[str]) -> None:
    from hwprofiles import InputError, load_machine, machine_names
    from rosin.report.machine_numbers import machine_summary
    from rosin.report.machine_tables import machine_list

    if overrides:
        raise InputError(f"--set {overrides[0]}: name the machine that it changes: rosin machines NAME --set ...")
    rows = [machine_summary(load_machine(name)) for name in machine_names()]
    output.emit({"machines": rows}, machine_list(rows))


def _show(name: str, output: Output, overrides: Sequence[str]) -> None:
    from hwprofiles import load_machine, weakest
    from rosin.report.machine_numbers import count_by_kind, machine_numbers
    from rosin.report.machine_tables import machine_details

    machine = load_machine(name, overrides)
    numbers = machine_numbers(machine)
    payload = {"machine": machine, "num_numbers": count_by_kind(numbers)}
    output.emit(payload, machine_details(machine, numbers), provenance=weakest(number.provenance for number in numbers))
