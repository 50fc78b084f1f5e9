"""fMoE's targets, and whether they are met."""

from collections.abc import Mapping
from statistics import mean

from validation.published.fmoe.measured import Measured
from validation.published.fmoe.systems import BASELINES, PERFECT, SYSTEMS, VARIANTS
from validation.published.reproduction import SummaryLine

MEAN_REDUCTION, TOLERANCE = 0.47, 0.10
HIT_ORDER = ("fMoE", "Mixtral-Offloading", "ProMoE", "MoE-Infinity")
"""As published, the highest hit rate first."""
SHORT: Mapping[str, str] = {"DeepSpeed-Inference": "DS", "Mixtral-Offloading": "MO", "MoE-Infinity": "MI"}


def summary_of(
    base: Measured,
    sweeps: Mapping[str, Mapping[str, Measured]],
    variants: Measured,
    released: Mapping[str, Measured],
    foretold: Mapping[str, float],
) -> tuple[SummaryLine, ...]:
    """One line a target; then what other readings and other values of the swept knobs give, and ``foretold`` hits of the released code."""
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
        _seconds(base),
        *(_mean_at(f"Mean reduction, {knob} {words}", measured) for knob, sweep in sweeps.items() for words, measured in sweep.items()),
        *(_mean_with(variant, variants) for variant in VARIANTS),
        *(line for words, measured in released.items() for line in _untargeted(words, measured)),
        SummaryLine(name="Predicted selections, released code", target="no target", found=_spelt(_falling(foretold)), is_met=None),
    )


def mean_reduction(measured: Measured, own: str = "fMoE", baselines: tuple[str, ...] = BASELINES) -> float:
    """Of TTFT and of TPOT against the four baselines."""
    return mean(1 - measured.ratio(quantity, system, own) for quantity in ("ttft", "tpot") for system in baselines)


def _mean_with(variant: str, measured: Measured) -> SummaryLine:
    """With another reading of one system in its place."""
    system = variant.partition(", ")[0]
    own = variant if system == "fMoE" else "fMoE"
    found = mean_reduction(measured, own, tuple(variant if name == system else name for name in BASELINES))
    return SummaryLine(name=f"Mean reduction, {variant}", target="no target", found=f"{found:.0%}", is_met=None)


def _seconds(measured: Measured) -> SummaryLine:
    """TTFT and TPOT of every system on the first workload: the ratios' absolutes."""
    (model, data), *_ = measured.by_system["fMoE"]
    found = ((system, measured.by_system[system][model, data]) for system in SYSTEMS)
    words = ", ".join(f"{SHORT.get(system, system)} {metrics.ttft_s:.2f}/{metrics.tpot_s:.2f}" for system, metrics in found)
    return SummaryLine(name=f"TTFT/TPOT in s, {model}, {data}", target="no target", found=words, is_met=None)


def _untargeted(words: str, measured: Measured) -> tuple[SummaryLine, ...]:
    """The four of a reading that no target is for."""
    orders = (("TTFT", SYSTEMS, "ttft"), ("TPOT", SYSTEMS, "tpot"), ("hits", HIT_ORDER, "hit"))
    return (
        *(
            SummaryLine(name=f"{words}: {name}", target="no target", found=_order(name, published, measured, quantity).found, is_met=None)
            for name, published, quantity in orders
        ),
        SummaryLine(name=f"{words}: mean reduction", target="no target", found=f"{mean_reduction(measured):.0%}", is_met=None),
    )


def _falling(shares: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(sorted(shares, key=lambda system: -shares[system]))


def _order(name: str, published: tuple[str, ...], measured: Measured, quantity: str) -> SummaryLine:
    found = tuple(sorted(published, key=lambda system: -measured.average(quantity, system)))
    return SummaryLine(name=name, target=_spelt(published), found=_spelt(found), is_met=found == published)


def _spelt(systems: tuple[str, ...]) -> str:
    return " > ".join(SHORT.get(system, system) for system in systems)


def _mean_at(name: str, measured: Measured) -> SummaryLine:
    found = f"{mean_reduction(measured):.0%}"
    if PERFECT in measured.by_system:
        found += f", foretelling all {mean_reduction(measured, PERFECT):.0%}"
    return SummaryLine(name=name, target="no target", found=found, is_met=None)
