"""From a trace's file to a routing file, with what both are of."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hwprofiles import Kind, Provenance
from sim.routing.fitting import NUM_CLASSES, fit
from sim.routing.importers import import_trace
from sim.routing.spec import RoutingSpec, fitted_spec


def fit_file(
    path: Path, *, task: str | None = None, source: str | None = None, num_classes: int = NUM_CLASSES, seed: int = 0
) -> RoutingSpec:
    """Fit a generator to a trace file. Raises InputError.

    ``task`` says what the tokens are of (the file's name unless said): the fit holds for that task and claims no other.
    """
    trace = import_trace(path)
    task = task or path.stem
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    size = f"{len(trace.expert_ids):,} tokens in {len(trace.borders) - 1} sequences"
    said = f"fitted to task {task!r} alone, {size}; other tasks route otherwise; trace: {source or path.name}"
    routing = fit(trace, provenance=Provenance(kind=Kind.FITTED, source=said, date=date), num_classes=num_classes, seed=seed)
    return fitted_spec(routing, task=task, sequence_num_tokens=tuple(np.diff(trace.borders).tolist()))
