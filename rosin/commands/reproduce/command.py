"""`rosin reproduce`: the tables of publications beside the simulator's figures."""

from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.named_option import named, written
from rosin.cli.output import Output

POPULARITY = "popularity:"
FolderOption = Annotated[
    Path | None, written("DIR", "Write the cells as CSV, tables and a figure here.")
]
NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="Which publication; without a name, the list.", show_default=False
    ),
]
PopularityOption = Annotated[
    str | None,
    named(
        "--routing",
        "popularity:FILE",
        "Measured counts of how often experts are selected; without them, figures that need them are skipped.",
    ),
]


RequestsOption = Annotated[
    Path | None,
    named(
        "--requests",
        "FILE",
        "Mooncake's conversation trace; without it, hit rates over it are skipped.",
    ),
]


def reproduce(
    *,
    name: NameArgument = None,
    folder: FolderOption = None,
    routing: PopularityOption = None,
    requests: RequestsOption = None,
    output: Output,
) -> None:
    """Set papers' figures beside the simulator's."""
    from hwprofiles import InputError
    from hwprofiles.text_file import check_folder
    from validation.published import ALL, reproduction_names

    if name is None:
        known = ", ".join((ALL, *reproduction_names()))
        raise InputError(f"name what to reproduce; known: {known}")
    if folder is not None:
        check_folder(folder)
    if name == ALL:
        _show_all(output, folder, _popularity(routing), requests)
    else:
        _show_one(output, name, folder, _popularity(routing), requests)


def _show_one(
    output: Output, name: str, folder: Path | None, popularity: Path | None, requests: Path | None
) -> None:
    from rosin.commands.reproduce.document import reproduction_result
    from rosin.commands.reproduce.page import reproduction_page
    from rosin.report.figure_style import house_style
    from validation.published import reproduce as run_reproduction
    from validation.published import write

    if name == "lmcache":
        output.note("serving some 150,000 requests, about half a minute; --requests asks for fewer")
    with output.waiting(f"reproducing {name}"):
        reproduction = run_reproduction(name, output.seed, popularity, requests)
    # Validation draws these figures, and does not know how figures of reports look.
    with house_style(), output.waiting("drawing"):
        paths = write(reproduction, folder) if folder is not None else ()
    result = reproduction_result(reproduction, paths)
    output.emit(result.model_dump(mode="json"), reproduction_page(result, output.seed))


def _show_all(
    output: Output, folder: Path | None, popularity: Path | None, requests: Path | None
) -> None:
    from rosin.commands.reproduce.document import overview_result
    from rosin.commands.reproduce.overview_page import overview_page
    from rosin.report.figure_style import house_style
    from validation.published import overview, reproduction_names, write_overview

    # One step more than there are papers: each is told when it begins.
    with output.waiting("reproducing", len(reproduction_names()) + 1) as waiting:
        page = overview(output.seed, popularity, requests, progress=waiting.step)
    with house_style(), output.waiting("drawing"):
        paths = write_overview(page, folder) if folder is not None else ()
    result = overview_result(page, paths)
    output.emit(result.model_dump(mode="json"), overview_page(result, output.seed))


def _popularity(routing: str | None) -> Path | None:
    """Return the file that the option names. Raises InputError for another kind of routing."""
    from hwprofiles import InputError

    if routing is None:
        return None
    if not routing.startswith(POPULARITY):
        raise InputError(f"--routing {routing}: reproduce takes {POPULARITY}FILE only")
    return Path(routing.removeprefix(POPULARITY))
