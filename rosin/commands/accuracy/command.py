"""`rosin accuracy`: predictions for measured rows, and their errors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import named, written
from rosin.cli.output import Output

if TYPE_CHECKING:
    from sim.runtimes import RuntimeHost
    from validation.accuracy import AccuracyResult

MOST_HOSTS = 1000

RowsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="ROWS.csv…",
        help="Measured rows, in one file or several; docs/reference/runtimes.md has the columns.",
    ),
]
LeaveOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-one-rig-out",
        help="Predict each machine's rows with constants that are fitted on all other machines.",
    ),
]
CasesOption = Annotated[
    Path | None,
    named(
        "--cases",
        "CASES.csv",
        "Choose among the arms of these cases too, and say what each choice loses.",
    ),
]
FolderOption = Annotated[Path | None, written("DIR", "Write a page, figures and JSON there.")]


def accuracy(
    *,
    rows: RowsArgument,
    cases: CasesOption = None,
    leave_one_rig_out: LeaveOutOption = False,
    folder: FolderOption = None,
    output: Output,
) -> None:
    """Compare predictions of runtimes with measured rows."""
    from rosin.commands.accuracy.page import accuracy_page
    from sim.memo import remembered
    from validation.accuracy import choose_in_cases, compare, read_cases, read_rows, summary_of

    # Many rows name the same machine.
    host_of = remembered(MOST_HOSTS)(_host)
    measured = [row for path in rows for row in read_rows(path)]
    # All files are read before anything is predicted, so that a mistake in one shows at once.
    asked = None if cases is None else read_cases(cases)
    doing = "fitting once for every machine left out" if leave_one_rig_out else "predicting rows"
    with output.waiting(doing) as waiting:
        result = compare(measured, host_of, leave_one_rig_out=leave_one_rig_out)
        if asked is not None:
            waiting.step("choosing in every case")
            chosen = choose_in_cases(asked, measured, host_of)
            update = {"cases": chosen, "case_summary": summary_of(chosen)}
            result = result.model_copy(update=update)
        if folder is not None:
            waiting.step("drawing")
            _write(result, folder)
    output.emit(result.model_dump(mode="json"), accuracy_page(result))


def _host(line: str) -> "RuntimeHost":
    """The machine that a line of parts, a name or a file stands for."""
    from hwprofiles import load_machine
    from sim.runtimes import runtime_host

    return runtime_host(load_machine(line))


def _write(result: "AccuracyResult", folder: Path) -> None:
    """Write the page, a figure for each phase, and the JSON. Raises InputError where the folder
    cannot be written.
    """
    import json

    from hwprofiles import InputError, write_text
    from hwprofiles.text_file import write_bytes
    from rosin.commands.accuracy.document import accuracy_document
    from rosin.commands.accuracy.figure import draw_accuracy

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None
    for phase in dict.fromkeys(item.phase for item in result.summary):
        for suffix in (".png", ".svg"):
            write_bytes(draw_accuracy(result, phase, suffix), folder / f"accuracy-{phase}{suffix}")
    write_text(accuracy_document(result), folder / "accuracy.md")
    write_text(
        json.dumps(result.model_dump(mode="json"), indent=1) + "\n", folder / "accuracy.json"
    )
