"""A plan of a policy that was named, not searched for: what a file needs to run it again."""

from dataclasses import asdict

from planner.search.make import NO_BOUNDS, stated_provenance
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting
from planner.search.search import binding_resource
from sim.step.provenance import RunProvenance
from sim.step.simulate import Run


def named_plan(setting: Setting, run: Run, provenance: RunProvenance, version: str) -> Plan:
    """The plan of a run in that setting, with its policy as it was; no bounds are computed."""
    return Plan(
        setting=setting,
        # A named policy is not chosen by any goal, so the file states the usual one.
        goal=Goal(),
        policy=run.scenario.policy,
        predicted=asdict(run.metrics) | {"timeline_digest": run.timeline.digest},
        bounds=dict(NO_BOUNDS),
        binding_resource=binding_resource(run.metrics),
        provenance=stated_provenance(provenance),
        version=version,
    )
