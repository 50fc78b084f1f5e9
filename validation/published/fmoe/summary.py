"""fMoE's targets, and whether they are met."""

from collections.abc import Mapping
from statistics import mean

from validation.published.fmoe.measured import PointMetrics
from validation.published.fmoe.systems import BASELINES, SYSTEMS
from validation.published.published_row import published_rows
from validation.published.reproduction import SummaryLine
from validation.published.target import Target, near, untargeted

MEAN_REDUCTION = 0.47
TOLERANCE = 0.10
MEAN_TARGET = near(
    MEAN_REDUCTION, TOLERANCE, f"{MEAN_REDUCTION:.0%} ± {100 * TOLERANCE:.0f} points"
)
HIT_ORDER = ("fMoE", "Mixtral-Offloading", "ProMoE", "MoE-Infinity")
"""Systems in the published order, the highest hit rate first."""
ORDERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "TTFT": (SYSTEMS, "ttft"),
    "TPOT": (SYSTEMS, "tpot"),
    "Hit rate": (HIT_ORDER, "hit"),
}
"""The published order of systems and the quantity that it orders, by name."""
WORDS: Mapping[str, str] = {"TTFT": "slowest", "TPOT": "slowest", "Hit rate": "highest"}
PUBLISHED: Mapping[tuple[str, str], float] = {
    (row.quantity.partition("_")[0], row.system): row.value
    for row in published_rows("validation.published.fmoe", "figures.csv")
    if row.environment == "both data sets"
}
"""fMoE's figure over a baseline's, by quantity and baseline."""
SHORT: Mapping[str, str] = {
    "DeepSpeed-Inference": "DS",
    "Mixtral-Offloading": "MO",
    "MoE-Infinity": "MI",
}


def summary_of(
    base: PointMetrics, sweeps: Mapping[str, Mapping[str, PointMetrics]]
) -> tuple[SummaryLine, ...]:
    """Return one line for each target, then absolute times.

    Then follow the targets at other values of the swept knobs and in other readings.
    """
    lines = (
        _order(name, published, base, quantity) for name, (published, quantity) in ORDERS.items()
    )
    reduction = mean_reduction(base)
    return (
        *lines,
        MEAN_TARGET.line("Mean reduction of the eight figures", f"{reduction:.0%}", reduction),
        *(
            _seconds(base, model)
            for model in dict.fromkeys(model for model, _ in base.by_system["fMoE"])
        ),
        *(
            _order_at(words, name, measured)
            for words, measured in sweeps.get("experts", {}).items()
            for name in ORDERS
        ),
        *(_errors_of(base, system) for system in BASELINES),
        *(
            _targets_at(f"{knob} {words}", measured)
            for knob, sweep in sweeps.items()
            for words, measured in sweep.items()
        ),
    )


def mean_reduction(measured: PointMetrics) -> float:
    """Return the mean reduction of TTFT and TPOT against the four baselines."""
    return mean(
        1 - measured.ratio(quantity, system)
        for quantity in ("ttft", "tpot")
        for system in BASELINES
    )


def _seconds(measured: PointMetrics, model: str) -> SummaryLine:
    """Return TTFT and TPOT of every system on a model's first data set, in seconds."""
    data = next(data for own, data in measured.by_system["fMoE"] if own == model)
    found = ((system, measured.by_system[system][model, data]) for system in SYSTEMS)
    words = ", ".join(
        f"{SHORT.get(system, system)} {metrics.ttft_s:.2f}/{metrics.tpot_s:.2f}"
        for system, metrics in found
    )
    return untargeted(f"TTFT/TPOT in s, {model}, {data}", words)


def _order_at(cache: str, name: str, measured: PointMetrics) -> SummaryLine:
    """Return the systems in order, each with its figure, for GPUs that hold that many experts."""
    published, quantity = ORDERS[name]
    found = order_of(published, measured, quantity)
    words = " > ".join(
        f"{SHORT.get(system, system)} {measured.average(quantity, system):.2f}" for system in found
    )
    is_right = "as published" if found == published else "not as published"
    return untargeted(f"{name}, {cache} of experts", f"{words}: {is_right}")


def _errors_of(measured: PointMetrics, system: str) -> SummaryLine:
    """Return the errors of a system's two ratios, TTFT and TPOT."""
    words = ", ".join(
        f"{quantity.upper()} {measured.ratio(quantity, system) / PUBLISHED[quantity, system] - 1:+.0%}"
        for quantity in ("ttft", "tpot")
    )
    return untargeted(f"fMoE over {system}: error of the ratio", words)


def _targets_at(name: str, measured: PointMetrics) -> SummaryLine:
    """Return the mean reduction and the orders that are as published, with one thing changed."""
    right = [
        short
        for short, (published, quantity) in ORDERS.items()
        if order_of(published, measured, quantity) == published
    ]
    found = f"{mean_reduction(measured):.0%}; in order: {', '.join(right) or 'none'}"
    return untargeted(name, found)


def order_of(systems: tuple[str, ...], measured: PointMetrics, quantity: str) -> tuple[str, ...]:
    """Return the systems by their average, the largest first; equal systems keep the given
    order.
    """
    return tuple(sorted(systems, key=lambda system: -measured.average(quantity, system)))


def _order(
    name: str, published: tuple[str, ...], measured: PointMetrics, quantity: str
) -> SummaryLine:
    found = order_of(published, measured, quantity)
    target = Target(words=_spelt(published), low=1.0)
    is_right = float(found == published)
    return target.line(f"{name}, {WORDS[name]} first", _spelt(found), is_right)


def _spelt(systems: tuple[str, ...]) -> str:
    return " > ".join(SHORT.get(system, system) for system in systems)
