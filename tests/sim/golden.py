"""Small scenarios whose results are written down, so that a refactor proves that it changed nothing.

Every family of policies has one, and so have serving, plans and a study. After a change that is meant to change results, run
``python -m tests.sim.golden`` and say in the commit why they differ; ``python -m tests.sim.golden NAME ...`` renews those alone.
"""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim.serving import ServingRun
from sim.step.simulate import Run, Scenario, simulate
from tests.sim.golden_plans import plans, study
from tests.sim.golden_serving import served_runs
from tests.sim.golden_steps import SCENARIOS

FILE = Path(__file__).with_suffix(".json")
DIGITS = 10
"""Figures of plans and bounds are compared to so many digits: sums over threads may differ in the last ones."""


def step_figures(scenario: Scenario) -> dict[str, Any]:
    """Return the timeline digest of a scenario, with figures that help to see what changed."""
    run = simulate(scenario)
    assert isinstance(run, Run), run
    return {
        "digest": run.timeline.digest,
        "makespan_ns": run.timeline.makespan_ns,
        "num_tasks": len(run.timeline.tasks),
        "h2d_bytes": run.metrics.h2d_bytes,
        "peak_gpu_memory_bytes": run.metrics.peak_gpu_memory_bytes,
    }


def serving_figures() -> dict[str, dict[str, Any]]:
    """Return what each served workload came to, by name."""
    return {name: _served(run) for name, run in served_runs().items()}


def plan_figures() -> dict[str, dict[str, Any]]:
    """Return what the plans and the study say, by name."""
    found = {
        name: {
            "digest": digest(plan),
            "policy": plan["policy"]["name"],
            "timeline_digest": plan["predicted"]["timeline_digest"],
            "end_to_end_s": rounded(plan["predicted"]["end_to_end_s"]),
            "static_bound_s": rounded(plan["bounds"]["static_bound_s"]),
            "clairvoyant_bound_s": rounded(plan["bounds"]["clairvoyant_bound_s"]),
            "num_tried": plan["num_tried"],
        }
        for name, plan in plans().items()
    }
    outcomes = study()
    found["study of link and batch"] = {
        "digest": digest([outcome.model_dump(mode="json") for outcome in outcomes]),
        "policies": [outcome.policy for outcome in outcomes],
        "timeline_digests": [outcome.timeline_digest for outcome in outcomes],
    }
    return found


def digests() -> dict[str, dict[str, Any]]:
    """Return the figures of everything, by name."""
    steps = {name: step_figures(scenario) for name, scenario in SCENARIOS.items()}
    return steps | serving_figures() | plan_figures()


def written() -> dict[str, dict[str, Any]]:
    """Return the figures that are written down, by name."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def digest(data: Any) -> str:
    """Return a hash of plain data, its figures to so many digits."""
    text = json.dumps(rounded(data), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rounded(data: Any) -> Any:
    """Return plain data with its figures to so many digits."""
    if isinstance(data, float):
        return float(f"{data:.{DIGITS}g}")
    if isinstance(data, dict):
        return {str(key): rounded(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [rounded(value) for value in data]
    return data


def _served(run: ServingRun) -> dict[str, Any]:
    recorder = run.recorder
    times = {
        name: list(getattr(recorder, name))
        for name in ("queue_s", "ttft_s", "tpot_s", "end_to_end_s")
    }
    return {
        "digest": digest([times, asdict(run.metrics)]),
        "num_finished": recorder.num_finished,
        "last_end_ns": recorder.last_end_ns,
        "hit_tokens": recorder.hit_tokens,
    }


if __name__ == "__main__":
    found, wanted = digests(), sys.argv[1:]
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        sys.exit(f"no such scenarios: {', '.join(unknown)}")
    renewed = written() | {name: found[name] for name in wanted} if wanted else found
    FILE.write_text(json.dumps(renewed, indent=2) + "\n", encoding="utf-8")
