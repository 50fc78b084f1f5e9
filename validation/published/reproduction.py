"""The parts of a reproduction: tables of cells, and a verdict for each target."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One published figure and the simulator's.

    ``mark`` says where the figure stands. P: the paper. N: notes that others took of the paper. B:
    figures in the authors' repository. C: the authors' released code. D: derived by arithmetic.
    ``is_scored`` is False for a cell that its table prints but leaves out of the mean error, for
    the reason in ``note``. ``comparisons`` are figures of other readings, by name, in the cell's
    unit. ``error_fraction`` is always simulated / published - 1.
    """

    environment: str
    system: str
    input_tokens: int | None
    output_tokens: int | None
    quantity: str
    unit: str
    published: float
    simulated: float
    error_fraction: float = 0.0
    is_scored: bool = True
    comparisons: Mapping[str, float] = field(default_factory=dict)
    mark: str
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error_fraction", self.simulated / self.published - 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells that belong together.

    ``assumptions`` is a sentence on what was assumed because the source does not give it. The mean
    error is that of the scored cells, or of all cells if none is scored.
    """

    name: str
    title: str
    assumptions: str
    mean_absolute_error_fraction: float = 0.0
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        # A table in which nothing is scored still shows how far off it is.
        scored = [abs(cell.error_fraction) for cell in self.cells if cell.is_scored] or [
            abs(cell.error_fraction) for cell in self.cells
        ]
        object.__setattr__(self, "mean_absolute_error_fraction", sum(scored) / len(scored))


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryLine:
    """A target and whether it is met.

    ``is_met`` is None if there is no target, or if ``found`` says why it was skipped.
    """

    name: str
    target: str
    found: str
    is_met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCurve:
    """One system's figures ``y`` against a knob's values ``x``, and its one published figure."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    published: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A plot of how figures depend on a knob that the publication leaves open."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[SystemCurve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A paper's tables beside the simulator's; ``panels`` are plots of their own."""

    name: str
    title: str
    seed: int
    routing: str
    tables: tuple[Table, ...]
    summary: tuple[SummaryLine, ...]
    panels: tuple[Panel, ...] = ()

    def table(self, name: str) -> Table:
        """The table of that name. Raises KeyError."""
        return {table.name: table for table in self.tables}[name]
