"""The output of a command: tables for people, JSON for programs, warnings on stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosin.cli.field_options import in_options
from rosin.cli.json_output import STDOUT, envelope, write_json
from rosin.cli.option_groups import OptionGroup
from rosin.cli.options import JsonOption, QuietOption, SeedOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rosin.cli.waiting import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions(OptionGroup):
    """The destinations of a command's results, as typed."""

    json: JsonOption = None
    quiet: QuietOption = False

    def with_seed(self, seed: int) -> "Output":
        """Return these destinations with the seed of the input that the command read."""
        return Output(json=self.json, seed=seed, quiet=self.quiet)

    def __post_init__(self) -> None:
        """Check before any work that the JSON file can be written. Raises InputError if not."""
        if self.json is not None and self.json != STDOUT:
            from hwprofiles.text_file import check_target

            check_target(Path(self.json))


MAX_SEED = 2**63 - 1
"""The largest seed, as in hwprofiles.limits, whose import takes longer than most commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(OutputOptions):
    """The destinations of a command's results, and the seed that the results state."""

    seed: SeedOption = 0

    def __post_init__(self) -> None:
        # A class with slots is made twice, and super() without arguments names the first.
        OutputOptions.__post_init__(self)
        if self.seed > MAX_SEED:
            from hwprofiles import InputError

            raise InputError(f"--seed {self.seed}: at most {MAX_SEED}")

    @property
    def has_tables(self) -> bool:
        """Return whether tables are printed; ``--quiet`` and JSON on stdout prevent it."""
        return not self.quiet and self.json != STDOUT

    def emit(
        self,
        payload: Mapping[str, Any],
        tables: Iterable["RenderableType"],
        *,
        provenance: Any = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Write the payload in its envelope if JSON is asked for; print the tables and the
        warnings.

        ``tables`` may be a generator, which does not run if no tables are printed. ``--quiet``
        leaves out tables and warnings.
        """
        said = [in_options(warning) for warning in warnings]
        # JSON comes first: a reader that closes the pipe in the middle of a table still has the
        # whole file.
        if self.json is not None:
            write_json(
                envelope(payload, provenance=provenance, warnings=said, seed=self.seed),
                self.json,
            )
        if self.has_tables:
            print_tables(tables)
        if not self.quiet:
            for warning in said:
                print("warning:", warning, file=sys.stderr)

    @property
    def is_watched(self) -> bool:
        """Return whether somebody waits at a terminal for the results."""
        return self.has_tables and sys.stderr.isatty()

    def waiting(self, doing: str, total: float | None = None) -> "Waiting":
        """Return a context manager that shows a progress line, or nothing if nobody waits."""
        from rosin.cli.waiting import Waiting

        return Waiting(doing, total, is_shown=self.is_watched)

    def note(self, message: str) -> None:
        """Print a message to stderr for a person who waits, unless stderr is no terminal."""
        if self.is_watched:
            print(message, file=sys.stderr, flush=True)


def print_tables(tables: Iterable["RenderableType"]) -> None:
    """Print the tables to stdout.

    They are as wide as the terminal. Without a terminal they have 80 columns and no colour.
    """
    # rich is slow to import, and a run that prints no table does without it.
    from rosin.report.console import PlainConsole

    console = PlainConsole(highlight=False)
    for table in tables:
        console.print(table)
