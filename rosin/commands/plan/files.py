"""The files that `rosin plan` writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rosin.cli.named_option import named, written
from rosin.cli.option_groups import OptionGroup

PlanFigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw the plan beside its rivals: .png, .svg or .pdf.")
]
PlanFileOption = Annotated[Path | None, written("FILE", "Write the plan here (.yaml).")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles(OptionGroup):
    """The plan file and the figure to write, if they are asked for."""

    output_file: PlanFileOption = None
    figure: PlanFigureOption = None

    def check(self) -> None:
        """Raise InputError, before any search, for a file that cannot be written."""
        from hwprofiles.text_file import check_yaml_target
        from rosin.report.figure_style import check_figure

        if self.output_file is not None:
            check_yaml_target(self.output_file, "a plan file")
        if self.figure is not None:
            check_figure(self.figure)
