"""Several policies simulated on the same work, in figures."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from hwprofiles import Provenance, weakest
from rosin.commands.simulate.document import run_warnings
from rosin.report.json_documents import ComparedPolicy, CompareResult, MisfitPolicy, ScenarioRecord
from rosin.report.occupancy import occupancy
from sim.policies import settings_of
from sim.step.draws import simulate_draws
from sim.step.provenance import provenance_of
from sim.step.simulate import Run, Scenario, cards_refusal

NOTHING = "nothing"
SEPARATOR = "+"
"""The separator of resources that were busy at once, in the keys of ``overlap_fractions``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRuns:
    """The figures of all runs, their weakest provenance (None if none fits), and their warnings."""

    result: CompareResult
    provenance: Provenance | None
    warnings: list[str]


def compare_all(
    scenarios: Sequence[Scenario],
    record: ScenarioRecord,
    num_draws: int = 1,
    on_policy: Callable[[str], None] = lambda name: None,
) -> ComparedRuns:
    """Simulate each scenario over ``num_draws`` draws, and sort the rows by speed, the fastest
    first.

    Policies that do not fit are listed apart, with their reasons. ``on_policy`` receives the name
    of each policy before its simulation.
    """
    rows = []
    misfits = []
    provenances = []
    for scenario in scenarios:
        on_policy(scenario.policy.name)
        refusal = cards_refusal(scenario)
        if refusal is not None:
            misfits.append(
                MisfitPolicy(policy=scenario.policy.name, reason=f"it {refusal}", missing_bytes=0)
            )
            continue
        run = simulate_draws(scenario, num_draws)
        if isinstance(run, Run):
            provenance = provenance_of(run)
            provenances.append(provenance.weakest)
            rows.append(_row(run, run_warnings(run, provenance)))
        else:
            misfits.append(
                MisfitPolicy(
                    policy=scenario.policy.name, reason=run.reason, missing_bytes=run.missing_bytes
                )
            )
    best = max((row.metrics.output_tokens_per_s for row in rows), default=1.0)
    rows = [
        row.model_copy(update={"speed_fraction": row.metrics.output_tokens_per_s / best})
        for row in rows
    ]
    rows.sort(key=attrgetter("speed_fraction"), reverse=True)
    result = CompareResult(
        scenario=record, rows=rows, infeasible=sorted(misfits, key=attrgetter("missing_bytes"))
    )
    return ComparedRuns(
        result=result,
        provenance=weakest(provenances) if provenances else None,
        warnings=list(_shared_warnings(rows)),
    )


def _row(run: Run, warnings: list[str]) -> ComparedPolicy:
    busy_s = run.metrics.busy_s
    shares = occupancy(run.timeline, is_merged=True)
    order = list(busy_s)
    return ComparedPolicy(
        policy=run.scenario.policy.name,
        is_lossless=run.scenario.policy.is_lossless,
        knows_future=run.scenario.policy.knows_future,
        metrics=run.metrics,
        # The fastest is not known yet: compare_all puts the share in its place.
        speed_fraction=1.0,
        busiest_resource=max(order, key=lambda name: busy_s[name]),
        overlap_fractions={
            # One order of names, so that a set of resources always has the same key.
            SEPARATOR.join(sorted(names, key=order.index)) or NOTHING: share
            for names, share in shares.items()
        },
        timeline_digest=run.timeline.digest,
        settings=settings_of(run.scenario.policy),
        warnings=warnings,
    )


def _shared_warnings(rows: Sequence[ComparedPolicy]) -> Iterator[str]:
    """Yield each warning once, with the names of its policies unless all policies have it."""
    counts = Counter(warning for row in rows for warning in row.warnings)
    for warning, count in counts.items():
        if count == len(rows):
            yield warning
        else:
            # Some warnings begin with the policy's name, which stands in front already.
            yield from (
                f"{row.policy}: {warning.removeprefix(row.policy).lstrip()}"
                for row in rows
                if warning in row.warnings
            )
