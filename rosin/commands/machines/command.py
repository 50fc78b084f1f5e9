"""`rosin machines`: list the machines, show one, or write one from a line of parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import written
from rosin.cli.options import SetOption
from rosin.cli.output import Output

if TYPE_CHECKING:
    from hwprofiles import Machine

NAME_HELP = "A machine's name, a machine file, or a line of parts."
PARTS_HELP = 'A line of parts, such as "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800".'
FileOption = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="The machine file to write (YAML)."),
]

PageOption = Annotated[
    Path | None, written("FILE", "Write the page of all parts with their numbers and sources.")
]


def show(
    *,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=NAME_HELP, show_default=False),
    ] = None,
    overrides: SetOption = None,
    output: Output,
) -> None:
    """List the machines, or show one with where its numbers are from; the word show may be left
    out.
    """
    if name is None:
        _list(output, overrides or ())
    else:
        _show(name, output, overrides or ())


def new(
    parts: Annotated[str, typer.Argument(metavar="PARTS", help=PARTS_HELP)],
    destination: FileOption,
    output: Output,
) -> None:
    """Write a machine file from a line of parts."""
    from hwprofiles.parts import machine_of_line

    _write(machine_of_line(parts), destination, output)


def detect(
    destination: FileOption,
    output: Output,
) -> None:
    """Write a machine file of this computer from what its system says; nothing is measured."""
    from hwprofiles.parts import detected_machine

    _write(detected_machine(), destination, output)


def parts(
    *,
    destination: PageOption = None,
    output: Output,
) -> None:
    """List the GPUs and CPUs that a line of parts may name, or write them as a page (Markdown)."""
    from hwprofiles import write_text
    from hwprofiles.parts import parts_library
    from rosin.commands.machines.parts_page import parts_page
    from rosin.commands.machines.parts_tables import parts_list

    library = parts_library()
    if destination is not None:
        write_text(parts_page(library), destination)
    payload = {"gpus": list(library.gpus), "cpus": list(library.cpus)}
    output.emit(payload, parts_list(library))


def _list(output: Output, overrides: Sequence[str]) -> None:
    from hwprofiles import InputError, load_machine, machine_names
    from rosin.commands.machines.numbers import machine_summary
    from rosin.commands.machines.page import machine_list

    # The list shows every machine, and a change of all of them at once is hardly meant.
    if overrides:
        raise InputError(
            f"--set {overrides[0]}: name the machine that it changes: rosin machines NAME --set ..."
        )
    rows = [machine_summary(load_machine(name)) for name in machine_names()]
    output.emit({"machines": rows}, machine_list(rows))


def _write(machine: "Machine", destination: Path, output: Output) -> None:
    """Write the machine to a file and name it after the file; then print its contents."""
    from hwprofiles import machine_data, write_yaml

    named = machine.model_copy(update={"name": destination.stem})
    write_yaml(machine_data(named), _machine_path(destination))
    _emit(named, output, {"path": str(destination)})


def _machine_path(path: Path) -> Path:
    from hwprofiles import InputError

    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"-o {path}: a machine file ends in .yaml")
    return path


def _show(name: str, output: Output, overrides: Sequence[str]) -> None:
    from hwprofiles import load_machine

    _emit(load_machine(name, overrides), output, {})


def _emit(machine: "Machine", output: Output, more: dict[str, str]) -> None:
    from hwprofiles import weakest
    from rosin.commands.machines.numbers import count_by_kind, machine_numbers
    from rosin.commands.machines.page import machine_details

    numbers = machine_numbers(machine)
    payload = {"machine": machine, "num_numbers": count_by_kind(numbers)} | more
    output.emit(
        payload,
        machine_details(machine, numbers),
        provenance=weakest(number.provenance for number in numbers),
        warnings=machine.assumptions,
    )
