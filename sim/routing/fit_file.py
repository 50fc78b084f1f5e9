"""Fits a generator to a trace file, and states in its routing file what it was fitted to."""

from datetime import UTC, datetime
from pathlib import Path

from hwprofiles import InputError, Kind, Provenance
from hwprofiles.yaml_tree import MAX_VALUES
from sim.routing.fitting import NUM_CLASSES, fit
from sim.routing.importers import import_trace
from sim.routing.spec import RoutingSpec, fitted_spec

MAX_FITTED_VALUES = MAX_VALUES // 2
"""The largest product of classes, layers and experts.

It leaves room for the lists and the other numbers, so that the file can be read again.
"""


def fit_file(
    path: Path,
    *,
    task: str | None = None,
    source: str | None = None,
    num_classes: int = NUM_CLASSES,
    seed: int = 0,
) -> RoutingSpec:
    """Return the routing file of a generator that is fitted to a trace file. Raises InputError.

    ``task`` says what the tokens are of; by default it is the file's name. The fit holds for that
    task and claims no other. ``source`` names the trace in the provenance; by default the file
    does.
    """
    trace = import_trace(path)
    num_values = num_classes * trace.expert_ids.shape[1] * trace.num_experts
    # Refused before the fit, and not only when its file is read.
    if num_values > MAX_FITTED_VALUES:
        limit = f"a routing file holds {MAX_FITTED_VALUES:,}"
        raise InputError(
            f"{path}: {num_classes} classes of its layers and experts are {num_values:,} numbers, {limit}; fit fewer classes"
        )
    task = task or path.stem
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    size = f"{len(trace.expert_ids):,} tokens in {len(trace.borders) - 1} sequences"
    said = f"fitted to task {task!r} alone, {size}; other tasks route otherwise; trace: {source or path.name}"
    routing = fit(
        trace,
        provenance=Provenance(kind=Kind.FITTED, source=said, date=date),
        num_classes=num_classes,
        seed=seed,
    )
    return fitted_spec(routing, task=task)
