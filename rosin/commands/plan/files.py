"""The files that `rosin plan` writes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles:
    """The plan file and the figure, where they are asked for."""

    plan: Path | None
    figure: Path | None

    def check(self) -> None:
        """Refuse, before any search, files that cannot be written. Raises InputError."""
        from hwprofiles.text_file import check_yaml_target
        from rosin.report.figure_style import check_figure

        if self.plan is not None:
            check_yaml_target(self.plan, "a plan file")
        if self.figure is not None:
            check_figure(self.figure)
