"""What a command says: tables to people, JSON to programs, warnings to stderr."""

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
    """Where the results of one command go, as typed."""

    json: JsonOption = None
    quiet: QuietOption = False

    def with_seed(self, seed: int) -> "Output":
        """Return the output of a command whose seed is that of what it reads."""
        return Output(json=self.json, seed=seed, quiet=self.quiet)

    def __post_init__(self) -> None:
        """Refuse, before any work, a file that cannot be written. Raises InputError."""
        if self.json is not None and self.json != STDOUT:
            from hwprofiles.text_file import check_target

            check_target(Path(self.json))


MAX_SEED = 2**63 - 1
"""As in hwprofiles.limits, whose import would take longer than most commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(OutputOptions):
    """Where the results of one command go, with the seed that they are stated with."""

    seed: SeedOption = 0

    def __post_init__(self) -> None:
        # A class with slots is made twice, and super() without arguments names the first.
        OutputOptions.__post_init__(self)
        if self.seed > MAX_SEED:
            from hwprofiles import InputError

            raise InputError(f"--seed {self.seed}: at most {MAX_SEED}")

    @property
    def has_tables(self) -> bool:
        """Whether people read along: never with ``--quiet``, nor when stdout carries JSON."""
        return not self.quiet and self.json != STDOUT

    def emit(
        self,
        payload: Mapping[str, Any],
        tables: Iterable["RenderableType"],
        *,
        provenance: Any = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Write the payload in its envelope where JSON is asked for, then the tables and warnings
        where people read along.

        ``tables`` may be a generator: it is not run when nobody reads.
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
        """Whether somebody waits at a terminal for what comes."""
        return self.has_tables and sys.stderr.isatty()

    def waiting(self, doing: str, total: float | None = None) -> "Waiting":
        """Return a line that says how far it is, to be entered; silent where nobody waits."""
        from rosin.cli.waiting import Waiting

        return Waiting(doing, total, is_shown=self.is_watched)

    def note(self, message: str) -> None:
        """Tell people, on stderr, why they wait; where stderr is no terminal, nobody is waiting."""
        if self.is_watched:
            print(message, file=sys.stderr, flush=True)


def print_tables(tables: Iterable["RenderableType"]) -> None:
    """Print to stdout: as wide as the terminal, 80 columns and without colour where there is none."""
    # rich is slow to import, and a run that prints no table does without it.
    from rosin.report.console import PlainConsole

    console = PlainConsole(highlight=False)
    for table in tables:
        console.print(table)
