"""Cross all readings of fMoE's evaluation.

``python -m benchmarks.fmoe_sweep`` prints how many combinations give each target.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from hwprofiles.units import GB
from sim.step.metrics import Metrics
from sim.workload.batch import Batch
from validation.published.fmoe.measured import PointMetrics, Workload
from validation.published.fmoe.readings import ADOPTED, CHOICES
from validation.published.fmoe.summary import MEAN_TARGET, ORDERS, mean_reduction, order_of
from validation.published.fmoe.systems import BASELINES, BATCHES, DISTANCES, SYSTEMS, RunKnobs, run

SHARED = ("serving", "prompt")
"""Questions whose answers hold for all systems; the answers are a part of each point."""
KEPT = (("emptied", 96 * GB), ("kept", 12 * GB))
OVERHEADS_MS = (None, 60.0)
"""Host time of a layer in ms.

None is the measured time of each model's loop; the other is what the published times ask for.
"""
OWN = dict(
    zip(SYSTEMS, ("deepspeed", "mixtral_offloading", "promoe", "moe_infinity", "fmoe"), strict=True)
)
"""The question that is asked of each system alone, by system."""
ALL = "all four"


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One combination of answers, and the names of the targets that it gives.

    ``answers`` contains the cache and the overhead, too, in words.
    """

    answers: Mapping[str, str]
    met: frozenset[str]


def points() -> tuple[RunKnobs, ...]:
    """Return every combination of what holds for all systems: answers, cache and overhead."""
    return tuple(
        RunKnobs(
            layer_overhead_ms=overhead,
            cache_bytes=cache,
            reading=replace(ADOPTED, **shared, keeping=keeping),
        )
        for shared in (
            dict(zip(SHARED, found, strict=True))
            for found in product(*(CHOICES[question] for question in SHARED))
        )
        for keeping, cache in KEPT
        for overhead in OVERHEADS_MS
    )


def cases_at(
    point: RunKnobs, models: tuple[str, ...], batch: Batch = BATCHES["LMSYS"], seed: int = 0
) -> Iterator[Combination]:
    """Yield, at one point, every combination of the answers that concern one system alone."""
    # Systems do not depend on each other's answers, so each is run once an answer, not once a
    # combination.
    found = {
        (system, answer): _metrics(
            system,
            replace(point, reading=replace(point.reading, **{OWN[system]: answer})),
            models,
            batch,
            seed,
        )
        for system in SYSTEMS
        for answer in CHOICES[OWN[system]]
    }
    common = {
        **{name: getattr(point.reading, name) for name in SHARED},
        "experts": f"{point.reading.keeping}, {point.cache_bytes // GB} GB",
        "overhead": "as measured"
        if point.layer_overhead_ms is None
        else f"{point.layer_overhead_ms:g} ms",
    }
    for chosen in product(*(CHOICES[OWN[system]] for system in SYSTEMS)):
        own = dict(zip(SYSTEMS, chosen, strict=True))
        measured = PointMetrics(
            point=point, by_system={system: found[system, answer] for system, answer in own.items()}
        )
        yield Combination(
            answers=common | {OWN[system]: answer for system, answer in own.items()},
            met=_met(measured),
        )


def _metrics(
    system: str, point: RunKnobs, models: tuple[str, ...], batch: Batch, seed: int
) -> Mapping[Workload, Metrics]:
    return {(model, "LMSYS"): run(system, model, batch, point, seed) for model in models}


def _met(measured: PointMetrics) -> frozenset[str]:
    met = {
        name
        for name, (published, quantity) in ORDERS.items()
        if order_of(published, measured, quantity) == published
    }
    return frozenset(met | ({"mean"} if MEAN_TARGET.is_met(mean_reduction(measured)) else set()))


def report(cases: list[Combination]) -> Iterator[str]:
    """Yield how many combinations give each target, then the counts by question.

    For each question, a line says how many combinations with each answer give all four targets.
    """
    targets = (*ORDERS, "mean")
    yield f"{len(cases)} combinations"
    for target in targets:
        yield f"  {target}: {sum(target in case.met for case in cases)}"
    yield f"  TTFT and TPOT: {sum({'TTFT', 'TPOT'} <= case.met for case in cases)}"
    four = [case for case in cases if case.met == frozenset(targets)]
    yield f"  {ALL}: {len(four)}"
    for question in cases[0].answers:
        counted = Counter(case.answers[question] for case in four)
        known = dict.fromkeys(case.answers[question] for case in cases)
        yield f"{ALL}, {question.replace('_', ' ')}: " + "; ".join(
            f"{answer} {counted[answer]}" for answer in known
        )


def main() -> None:
    """Run it and print the report."""
    # OWN pairs systems with questions by their order, so the order must be this one.
    assert tuple(OWN)[:4] == BASELINES
    print(
        "\n".join(
            report([case for point in points() for case in cases_at(point, tuple(DISTANCES))])
        )
    )


if __name__ == "__main__":
    main()
