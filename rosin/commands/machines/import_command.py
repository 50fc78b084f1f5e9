"""`rosin machines import`: kernels and rates that others measured, put into a machine file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output

if TYPE_CHECKING:
    from hwprofiles import Machine
    from validation.kernel_tables import GroupedRows, ImportedLayers

SYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "a100_sxm": "a100-80",
        "h100_sxm": "h100",
        "h200_sxm": "h200",
        "b200_sxm": "b200",
        "l40s": "L40S + EPYC 9354",
        "rtx_pro_6000_server": "RTX PRO 6000 Blackwell Server + EPYC 9354",
    }
)
"""The machine that receives a system's curves if no machine is named.

The last two cards are sold without a host, so a usual host stands for it.
"""

KINDS = ("aiconfigurator", "llmservingsim", "freetoken")

KindArgument = Annotated[
    str,
    typer.Argument(metavar="|".join(KINDS), help="What PATH is of.", show_default=False),
]
PathArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="The wheel of aiconfigurator-core or its folder; a profile's folder of LLMServingSim, "
        "which holds meta.yaml; the JSON of ft bench bw.",
    ),
]
SystemOption = Annotated[
    str | None,
    typer.Option("--system", metavar="NAME", help="Of aiconfigurator, such as h100_sxm."),
]
BaseOption = Annotated[
    str | None,
    typer.Option(
        "--machine",
        metavar="NAME",
        help="The machine that they are put into: a name, a file or a line of parts.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME,...",
        help="The model of LLMServingSim's tables; of aiconfigurator's, models whose attention, dense "
        "blocks and head get curves too.",
    ),
]
FileOption = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="The machine file to write (YAML).")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions(OptionGroup):
    """The options that say which measurements are read."""

    kind: KindArgument
    path: PathArgument
    system: SystemOption = None
    model: ModelOption = None


def import_(
    *,
    tables: TableOptions,
    destination: FileOption,
    machine: BaseOption = None,
    output: Output,
) -> None:
    """Write a machine file with what others measured: kernels of a GPU, or rates of a computer."""
    from hwprofiles import InputError

    kind = tables.kind
    system = tables.system
    if kind == "freetoken":
        _import_profile(tables.path, _base(machine, kind), destination, output)
    elif kind == "aiconfigurator":
        from validation.kernel_tables import aiconfigurator_rows

        if system is None:
            raise InputError("--system is needed: the card of the tables, such as h100_sxm")
        rows = aiconfigurator_rows(tables.path, system)
        base = _base(machine or SYSTEMS.get(system), kind)
        names = [] if tables.model is None else tables.model.split(",")
        layers = _layers(tables.path, system, base, names) if names else None
        _import_rows(rows, base, destination, output, layers)
    elif kind == "llmservingsim":
        from sim.model.library import load_model
        from validation.kernel_tables import llmservingsim_rows

        if tables.model is None:
            raise InputError("--model is needed: the tables do not state the experts' sizes")
        rows = llmservingsim_rows(tables.path, load_model(tables.model))
        _import_rows(rows, _base(machine, kind), destination, output)
    else:
        raise InputError(f"no measurements of {kind!r} can be imported; known: {', '.join(KINDS)}")


def _base(name: str | None, kind: str) -> "Machine":
    from hwprofiles import InputError, load_machine

    if name is None:
        raise InputError(f"--machine is needed: {kind} says nothing of the rest of the computer")
    return load_machine(name)


def _layers(path: Path, system: str, base: "Machine", names: Sequence[str]) -> "ImportedLayers":
    """Return the base machine with curves for the named models' layers, except their experts."""
    from sim.model.library import load_model
    from validation.kernel_tables import import_layers

    return import_layers(path, system, base, [load_model(name.strip()) for name in names])


def _import_rows(
    rows: "GroupedRows",
    base: "Machine",
    destination: Path,
    output: Output,
    layers: "ImportedLayers | None" = None,
) -> None:
    from rosin.commands.machines.import_page import curves_page, layers_page
    from validation.kernel_tables import with_grouped_curves

    made = with_grouped_curves(base if layers is None else layers.machine, rows)
    written = _write(made.machine, destination)
    payload = {
        "path": str(destination),
        "machine": written,
        "formats": made.errors,
        "passed_over": rows.passed_over,
        "products": [] if layers is None else layers.errors,
        "left_out": [] if layers is None else layers.left_out,
    }
    page = [*curves_page(written, rows, made.errors)]
    if layers is not None:
        page += layers_page(layers)
    output.emit(payload, page, warnings=written.assumptions)


def _import_profile(path: Path, base: "Machine", destination: Path, output: Output) -> None:
    from rosin.commands.machines.import_page import profile_page
    from validation.kernel_tables import with_freetoken_profile

    made = with_freetoken_profile(base, path)
    written = _write(made.machine, destination)
    payload = {
        "path": str(destination),
        "machine": written,
        "read": made.read,
        "passed_over": made.passed_over,
    }
    page = profile_page(written, made.read, made.passed_over)
    output.emit(payload, page, warnings=written.assumptions)


def _write(machine: "Machine", destination: Path) -> "Machine":
    """Write the machine to a file and name it after the file.

    Raises InputError for an ending other than .yaml and .yml.
    """
    from hwprofiles import InputError, machine_data, write_yaml

    if destination.suffix not in {".yaml", ".yml"}:
        raise InputError(f"-o {destination}: a machine file ends in .yaml")
    named = machine.model_copy(update={"name": destination.stem})
    write_yaml(machine_data(named), destination)
    return named
