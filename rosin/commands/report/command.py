"""`rosin report`: a result as one page of HTML without other files."""

from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.options import AllowImportOption
from rosin.cli.output import Output

SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT",
        help="A plan (.yaml), what a command wrote with --json, or the folder of whatif, validate or accuracy.",
    ),
]
PageOption = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="The page to write (.html).")
]


def report(
    *,
    source: SourceArgument,
    output_file: PageOption,
    allow_import: AllowImportOption = None,
    output: Output,
) -> None:
    """Write a result as one page of HTML."""
    from hwprofiles import InputError
    from hwprofiles.text_file import check_target, write_text
    from rosin.commands.report.pages import page_of

    if output_file.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o {output_file}: a page's name must end in .html")
    # Making the page may simulate the plan again, so a wrong name should fail before.
    check_target(output_file)
    with output.waiting("making the page"):
        page = page_of(source, tuple(allow_import or ()))
    text = page.html()
    write_text(text, output_file)
    # Bytes of the file, which are more than its characters.
    size = len(text.encode())
    payload = {
        "path": str(output_file),
        "title": page.title,
        "answer": page.answer,
        "command": page.command,
        "sections": [section.title for section in page.sections],
        "bytes": size,
    }
    output.emit(payload, _said(page.answer, output_file, size), warnings=page.warnings)


def _said(answer: str, path: Path, size: int):  # type: ignore[no-untyped-def]  # the type would load rich before help is shown
    """Yield the lines that people read: the answer, and the page's path and size."""
    from rich.text import Text

    from hwprofiles.units import format_bytes

    yield Text(answer)
    yield Text(f"Written to {path} ({format_bytes(size)}); open it in any browser.")
