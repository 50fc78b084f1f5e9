"""The base of all results of the Python API, which are tables, plain data, figures and files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIGURES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 150


class NothingFits(Exception):
    """No plan or policy that was asked for fits the machine's memory, or none keeps to the
    constraints.

    The message names the nearest one, and says by how much it misses.
    """


class Result(ABC):
    """A result; its ``repr`` states the main figures in one line."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a table of pandas, one line for each thing compared."""

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """Return the whole result in plain types, as ``save`` writes it to a .json file."""

    @abstractmethod
    def plot(self) -> Figure:
        """Return a figure of matplotlib."""

    def save(self, path: str | Path) -> Path:
        """Write the result and return the path.

        The ending of the path chooses the format: .json, .csv or a figure's. Raises
        hwprofiles.InputError for another ending, or if the file cannot be written.
        """
        from hwprofiles import InputError
        from rosin.cli.json_output import write_json

        file = Path(path)
        if file.suffix == ".json":
            write_json(self.to_data(), str(file))
        elif file.suffix == ".csv":
            from hwprofiles import write_text

            write_text(self.to_frame().to_csv(index=False), file)
        elif file.suffix in FIGURES:
            _save_figure(self.plot(), file)
        else:
            raise InputError(f"{file}: the name must end in .json, .csv, {', '.join(FIGURES)}")
        return file


def _save_figure(figure: Figure, file: Path) -> None:
    import io

    from hwprofiles.text_file import write_bytes

    # Drawn in memory first: a failure while drawing leaves no half file behind.
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file.suffix.removeprefix("."), dpi=DOTS_PER_INCH)
    write_bytes(buffer.getvalue(), file)


def bars(values: dict[str, float], label: str, title: str) -> Figure:
    """Return a figure with a horizontal bar for each value, the first on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.34 * len(values)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color="#0072B2")
    axes.bar_label(drawn, labels=[f"{value:.3g}" for value in values.values()], padding=3)
    # The longest bar leaves room for the number behind it.
    axes.set_xlim(0, 1.15 * max(values.values(), default=1.0))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def numbers_of(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the figures of nested plain data by dotted key, as columns of a table; lists are left
    out.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= numbers_of(value, f"{prefix}{key}.")
        # A list has no one column to stand in.
        elif not isinstance(value, list | tuple):
            found[f"{prefix}{key}"] = value
    return found
