"""`rosin models`: list the models, show one, or import one from a configuration, a folder or a GGUF
file.
"""

from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.options import QuantizationOption
from rosin.cli.output import Output

FamilyOption = Annotated[
    str | None,
    named("--family", "NAME", "Read a config.json as this family, whatever its model_type says."),
]
PATH_HELP = "A config.json, a Hugging Face folder, or a GGUF file."


def show(
    *,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A model's name, or a model file.", show_default=False),
    ] = None,
    quantization: QuantizationOption = None,
    family: FamilyOption = None,
    output: Output,
) -> None:
    """List the models, or show one; the word show may be left out."""
    from rosin.commands.models.document import model_summary
    from rosin.commands.models.page import model_details, model_list
    from sim.model.library import load_model, model_names

    if name is None:
        rows = [model_summary(load_model(each, quantization)) for each in model_names()]
        output.emit({"models": rows}, model_list(rows))
    else:
        summary = model_summary(load_model(name, quantization, family))
        output.emit({"model": summary}, model_details(summary), provenance=summary.provenance)


def import_(
    *,
    path: Annotated[str, typer.Argument(metavar="PATH", help=PATH_HELP)],
    destination: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The model file to write (YAML).")
    ],
    quantization: QuantizationOption = None,
    family: FamilyOption = None,
    output: Output,
) -> None:
    """Write a model file from a configuration, a folder or a GGUF file."""
    from hwprofiles.text_file import check_yaml_target
    from rosin.commands.models.document import import_notes, model_summary
    from rosin.commands.models.page import import_details
    from sim.model.library import load_model, load_spec, save_model

    check_yaml_target(destination, "a model file")
    spec = load_spec(path, quantization, family)
    notes = import_notes(Path(path))
    summary = model_summary(
        load_model(path, quantization, family)
    )  # before anything is written: it names the file that was read
    save_model(spec, destination)
    document = {
        "model": summary,
        "path": str(destination),
        "ignored": notes.ignored,
        "missing_bytes": notes.missing_bytes,
    }
    output.emit(document, import_details(summary, notes), provenance=summary.provenance)
