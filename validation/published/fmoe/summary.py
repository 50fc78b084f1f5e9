"""fMoE's targets, and whether they are met."""

from collections.abc import Mapping
from statistics import mean

from validation.published.fmoe.measured import Measured
from validation.published.fmoe.systems import BASELINES, PERFECT, SYSTEMS
from validation.published.reproduction import SummaryLine

MEAN_REDUCTION, TOLERANCE = 0.47, 0.10
HIT_ORDER = ("fMoE", "Mixtral-Offloading", "ProMoE", "MoE-Infinity")
"""As published, the highest hit rate first."""
SHORT: Mapping[str, str] = {"DeepSpeed-Inference": "DS", "Mixtral-Offloading": "MO", "MoE-Infinity": "MI"}


def summary_of(base: Measured, overheads: Mapping[str, Measured], caches: Mapping[str, Measured]) -> tuple[SummaryLine, ...]:
    """One line a target; then what other values of the swept knobs give."""
    reduction = mean_reduction(base)
    return (
        _order("TTFT, slowest first", SYSTEMS, base, "ttft"),
        _order("TPOT, slowest first", SYSTEMS, base, "tpot"),
        SummaryLine(
            name="Mean reduction of the eight figures",
            target=f"{MEAN_REDUCTION:.0%} ± {100 * TOLERANCE:.0f} points",
            found=f"{reduction:.0%}",
            is_met=abs(reduction - MEAN_REDUCTION) <= TOLERANCE,
        ),
        _order("Hit rate, highest first", HIT_ORDER, base, "hit"),
        *(_mean_at(f"Mean reduction, overhead {words}", measured) for words, measured in overheads.items()),
        *(_mean_at(f"Mean reduction, experts {words}", measured) for words, measured in caches.items()),
    )


def mean_reduction(measured: Measured, own: str = "fMoE") -> float:
    """Of TTFT and of TPOT against the four baselines."""
    return mean(1 - measured.ratio(quantity, system, own) for quantity in ("ttft", "tpot") for system in BASELINES)


def _order(name: str, published: tuple[str, ...], measured: Measured, quantity: str) -> SummaryLine:
    found = tuple(sorted(published, key=lambda system: -measured.average(quantity, system)))
    return SummaryLine(name=name, target=_spelt(published), found=_spelt(found), is_met=found == published)


def _spelt(systems: tuple[str, ...]) -> str:
    return " > ".join(SHORT.get(system, system) for system in systems)


def _mean_at(name: str, measured: Measured) -> SummaryLine:
    found = f"{mean_reduction(measured):.0%}, foretelling all {mean_reduction(measured, PERFECT):.0%}"
    return SummaryLine(name=name, target="no target", found=found, is_met=None)
