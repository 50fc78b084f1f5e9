"""Compare fMoE's figures under two host times: as measured, and as the published times ask for.

``python -m benchmarks.fmoe_overheads`` prints both, as adopted and with one question answered
otherwise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from benchmarks.fmoe_sweep import OVERHEADS_MS, OWN, SHARED
from hwprofiles.units import GB
from sim.step.metrics import Metrics
from validation.published.fmoe.measured import PointMetrics, Workload, all_workloads, measure
from validation.published.fmoe.readings import Answers, one_otherwise
from validation.published.fmoe.summary import ORDERS, mean_reduction, order_of
from validation.published.fmoe.systems import BASE, BASELINES, SYSTEMS, RunKnobs

SMALLEST_BYTES = 6 * GB
LMSYS = all_workloads(("LMSYS",))


def adopted(point: RunKnobs, seed: int = 0) -> Iterator[str]:
    """Yield fMoE's figures over each baseline's on both data sets, and TPOT with 6 GB."""
    whole = measure(SYSTEMS, point, seed, all_workloads())
    smallest = measure(SYSTEMS, replace(point, cache_bytes=SMALLEST_BYTES), seed, LMSYS)
    yield f"as adopted: {mean_reduction(whole):.0%}"
    for system in BASELINES:
        # A system without hits has no ratio of them.
        ratios = ", ".join(
            f"{name} {whole.ratio(quantity, system):.2f}"
            for name, (known, quantity) in ORDERS.items()
            if system in known
        )
        yield f"  {system}: {ratios}, TPOT with 6 GB {smallest.ratio('tpot', system):.2f}"


def otherwise(point: RunKnobs, seed: int = 0) -> Iterator[str]:
    """Yield one line for each reading that answers one question otherwise, on LMSYS lengths.

    A line has the mean reduction and the published orders that the reading gives.
    """
    found: dict[tuple[str, ...], Mapping[Workload, Metrics]] = {}
    for words, reading in one_otherwise().items():
        given = replace(point, reading=reading)
        for system in SYSTEMS:
            # A system does not depend on what is asked of the others.
            answers = _answers(system, reading)
            if answers not in found:
                found[answers] = measure((system,), given, seed, LMSYS).by_system[system]
        measured = PointMetrics(
            point=given,
            by_system={system: found[_answers(system, reading)] for system in SYSTEMS},
        )
        right = [
            name
            for name, (published, quantity) in ORDERS.items()
            if order_of(published, measured, quantity) == published
        ]
        yield f"{words}: {mean_reduction(measured):.0%}; {', '.join(right) or 'none'}"


def _answers(system: str, reading: Answers) -> tuple[str, ...]:
    questions = (*SHARED, "keeping", OWN[system])
    return (system, *(getattr(reading, question) for question in questions))


def main() -> None:
    """Run it and print what is found."""
    for overhead_ms in OVERHEADS_MS:
        point = replace(BASE, layer_overhead_ms=overhead_ms)
        print("as measured" if overhead_ms is None else f"{overhead_ms:g} ms a layer")
        for line in (*adopted(point), *otherwise(point)):
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
