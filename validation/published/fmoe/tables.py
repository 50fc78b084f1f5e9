"""Compare fMoE's figures with the simulator."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from hwprofiles.units import GB
from validation.published.fmoe.measured import (
    PointMetrics,
    Workload,
    all_workloads,
    foretold,
    measure,
)
from validation.published.fmoe.readings import one_otherwise
from validation.published.fmoe.summary import HIT_ORDER, summary_of
from validation.published.fmoe.systems import BASE, BASELINES, SYSTEMS, RunKnobs
from validation.published.popularity import refuse_popularity
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Panel, Reproduction, SystemCurve, Table

OVERHEADS_MS = (0.0, 20.0, 40.0, 60.0, 100.0)
CACHES_GB = (6, 12, 24, 96)
SHARPNESSES = (3.5, 12.0)
ASSUMPTIONS = (
    "Each figure is fMoE's over the baseline's, the mean of three models on two data sets; one request a run, one seed. Host overhead "
    f"as measured of eager loops with hooks, {BASE.cache_bytes / GB:g} GB of experts over six GPUs."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is run: everything, or as much as a test has time for."""

    workloads: tuple[Workload, ...] = all_workloads()
    swept_workloads: tuple[Workload, ...] = all_workloads(("LMSYS",))
    overheads_ms: tuple[float, ...] = OVERHEADS_MS
    caches_gb: tuple[int, ...] = CACHES_GB
    sharpnesses: tuple[float, ...] = SHARPNESSES
    readings: tuple[str, ...] = tuple(one_otherwise())

    @staticmethod
    def without_sweeps() -> "Extent":
        """Return the extent that the published figures need, without points that only a sweep
        shows.
        """
        # Caches stay, because the paper states a figure for the smallest one.
        return Extent(
            overheads_ms=(), caches_gb=CACHES_GB, sharpnesses=(), readings=("as adopted",)
        )


Sweep = Mapping[str, PointMetrics]
"""The metrics by the value of the knob, in words."""


def reproduce_fmoe(
    seed: int, routing_popularity: Path | None, extent: Extent | None = None
) -> Reproduction:
    """Reproduce all of fMoE's figures.

    Raises InputError for measured popularity, which these models' generator does not take.
    """
    refuse_popularity(
        routing_popularity,
        "fmoe",
        "its systems look for structure that counts of experts do not have",
    )
    extent = extent or Extent()
    base = measure(SYSTEMS, BASE, seed, extent.workloads)
    overheads = _swept(
        {f"{value:g} ms": replace(BASE, layer_overhead_ms=value) for value in extent.overheads_ms},
        base,
        seed,
        extent,
    )
    caches = _swept(
        {f"{value} GB": replace(BASE, cache_bytes=value * GB) for value in extent.caches_gb},
        base,
        seed,
        extent,
    )
    alike = _swept(
        {f"sharpness {value:g}": replace(BASE, sharpness=value) for value in extent.sharpnesses},
        base,
        seed,
        extent,
    )
    known = one_otherwise()
    readings = _swept(
        {words: replace(BASE, reading=known[words]) for words in extent.readings},
        base,
        seed,
        extent,
    )
    predicted = foretold(HIT_ORDER, BASE, seed, extent.swept_workloads)
    tables = (
        _headline(base),
        _hits(base, predicted),
        _sweep("overhead", "By host overhead a layer, LMSYS", overheads, base),
        _sweep("cache", "By experts on the GPUs, LMSYS", caches, base),
        _sweep("routing", "By how alike tokens of one kind route, LMSYS", alike, base),
        _sweep("readings", "By one question answered otherwise, LMSYS", readings, base),
        _smallest_cache(caches),
    )
    return Reproduction(
        name="fmoe",
        title="fMoE (arXiv 2502.05370)",
        seed=seed,
        routing="DeepSeek-V2-Lite's statistics carried over to each model",
        tables=tables,
        summary=summary_of(
            base, {"reading": readings, "overhead": overheads, "experts": caches, "routing": alike}
        ),
        panels=tuple(
            _panels("host overhead a layer (ms)", overheads)
            + _panels("experts on the GPUs (GB)", caches)
        ),
    )


def _swept(points: Mapping[str, RunKnobs], base: PointMetrics, seed: int, extent: Extent) -> Sweep:
    # The base point is part of every sweep, and its runs are at hand.
    known = base.of(extent.swept_workloads)
    return {
        words: known
        if point == base.point
        else measure(SYSTEMS, point, seed, extent.swept_workloads)
        for words, point in points.items()
    }


def _headline(base: PointMetrics) -> Table:
    """The eight reductions, with those of each model and data set beside."""
    cells = (
        cell_of(
            row,
            base.ratio(_quantity(row), row.system),
            comparisons=_by_workload(base, _quantity(row), row.system),
        )
        for row in _reductions()
    )
    return Table(
        name="headline",
        title="fMoE's time over the baseline's",
        assumptions=ASSUMPTIONS,
        cells=tuple(cells),
    )


def _hits(base: PointMetrics, predicted: Mapping[str, Mapping[Workload, float]]) -> Table:
    """Return relative hit rates, also by the released code's count.

    DeepSpeed-Inference foretells nothing, and has none in the paper.
    """

    def others(system: str) -> dict[str, float]:
        """Return the ratio by the released code's count, of the averages, and of each model and
        data set.
        """
        of_averages = base.average("hit", "fMoE") / base.average("hit", system)
        by_code = mean(
            predicted["fMoE"][workload] / share for workload, share in predicted[system].items()
        )
        return {
            "selections predicted, LMSYS": by_code,
            "of the averages": of_averages,
            **_by_workload(base, "hit", system),
        }

    rows = [row for row in _rows() if row.quantity == "hit_ratio"]
    cells = (
        cell_of(row, base.ratio("hit", row.system), comparisons=others(row.system)) for row in rows
    )
    words = f"{ASSUMPTIONS} A hit is an expert on its GPU when the gate selects it; in the released code, one that had been predicted."
    return Table(
        name="hit_rates",
        title="fMoE's hit rate over the baseline's",
        assumptions=words,
        cells=tuple(cells),
    )


def _by_workload(base: PointMetrics, quantity: str, system: str) -> dict[str, float]:
    """fMoE's figure over a system's, for each model and data set."""
    return {
        f"{model}, {data}": value for (model, data), value in base.ratios(quantity, system).items()
    }


def _sweep(name: str, title: str, sweep: Sweep, base: PointMetrics) -> Table:
    """Return the eight figures again, with the figures at each value of a knob beside.

    The first table scores these figures, so this one does not.
    """
    cells = (
        cell_of(
            row,
            base.ratio(_quantity(row), row.system),
            is_scored=False,
            comparisons=_by_value(sweep, _quantity(row), row.system),
        )
        for row in _reductions()
    )
    return Table(
        name=name,
        title=title,
        assumptions=f"{ASSUMPTIONS} Columns: other values of that knob alone.",
        cells=tuple(cells),
    )


def _smallest_cache(caches: Sweep) -> Table:
    """TPOT at the paper's smallest cache."""
    smallest = caches[next(iter(caches))]
    rows = [row for row in _rows() if row.environment == "6 GB cache"]
    cells = (cell_of(row, smallest.ratio(_quantity(row), row.system)) for row in rows)
    title = "TPOT with 6 GB of experts, LMSYS"
    assumptions = f"{ASSUMPTIONS} Here 6 GB."
    return Table(name="smallest_cache", title=title, assumptions=assumptions, cells=tuple(cells))


def _by_value(sweep: Sweep, quantity: str, system: str) -> dict[str, float]:
    return {words: measured.ratio(quantity, system) for words, measured in sweep.items()}


def _rows() -> Iterable[PublishedRow]:
    return published_rows("validation.published.fmoe", "figures.csv")


def _reductions() -> list[PublishedRow]:
    """The paper's eight reductions of TTFT and TPOT, each over both data sets."""
    return [
        row
        for row in _rows()
        if row.quantity in ("ttft_ratio", "tpot_ratio") and row.environment == "both data sets"
    ]


def _quantity(row: PublishedRow) -> str:
    return row.quantity.partition("_")[0]


def _panels(knob: str, sweep: Sweep) -> list[Panel]:
    """Return plots of how much lower fMoE's times are than each baseline's, against a knob.

    Dashed lines are the published figures.
    """
    published = {
        (row.system, row.quantity): 100 * (1 - row.value)
        for row in _rows()
        if row.environment == "both data sets"
    }
    values = tuple(float(words.split()[0]) for words in sweep)

    def curve(system: str, quantity: str) -> SystemCurve:
        """A system's reductions over the knob."""
        heights = tuple(100 * (1 - measured.ratio(quantity, system)) for measured in sweep.values())
        return SystemCurve(
            label=system, x=values, y=heights, published=published[system, f"{quantity}_ratio"]
        )

    return [
        Panel(
            title=quantity.upper(),
            x_label=knob,
            y_label="lower under fMoE (%)",
            curves=tuple(curve(system, quantity) for system in BASELINES),
        )
        for quantity in ("ttft", "tpot")
    ]
