"""docs/reference/json.md explains every key that the schema has, and no other."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from planner.search.plan import Setting
from planner.search.search import RunnerUp
from planner.search.steps import RuledOut
from rosin.cli.json_output import envelope
from rosin.commands.kv_replay import document as kv_documents
from rosin.commands.measure import runtime_document as measured_runtimes
from rosin.commands.reproduce import document as reproduced
from rosin.commands.simulate import serving_document as serve_documents
from rosin.commands.validate import runtime_document as validated_runtimes
from rosin.report import checking_documents, json_documents
from sim.serving.metrics import ServingMetrics, TierUse
from sim.step.metrics import Metrics
from validation.published import Cell, Claim, SummaryLine, Table

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type] = {
    "simulate": json_documents.SimulateResult,
    "simulate --workload": serve_documents.ServeResult,
    "kv-plan": serve_documents.KvPlanResult,
    "tried": serve_documents.TriedServing,
    "served scenario": serve_documents.ServeRecord,
    "workload": serve_documents.ServedWorkload,
    "served basis": serve_documents.ServeBasis,
    "compare": json_documents.CompareResult,
    "plan": json_documents.PlanResult,
    "kv-replay": kv_documents.KvReplayResult,
    "trace": kv_documents.ReplayedTrace,
    "pools": kv_documents.ReplayedPool,
    "reproduce": reproduced.ReproduceResult,
    "measure": checking_documents.MeasureResult,
    "measure --runtime": measured_runtimes.RuntimeMeasureResult,
    "validate --runtime": validated_runtimes.RuntimeValidateResult,
    "noisiest": checking_documents.NoisyPoint,
    "calibrate": checking_documents.CalibrateResult,
    "factors": checking_documents.FittedFactor,
    "held_out": checking_documents.HeldOutError,
    "validate": checking_documents.ValidateResult,
    "error_fraction": checking_documents.PairedErrors,
    "plans": checking_documents.ValidatedPlan,
    "scenario": json_documents.ScenarioRecord,
    "time": json_documents.ResourceTime,
    "memory": json_documents.Memory,
    "basis": json_documents.Basis,
    "rows": json_documents.ComparedPolicy,
    "infeasible": json_documents.MisfitPolicy,
    "rivals": json_documents.PlanRival,
    "runtimes": json_documents.PlanRuntime,
    "offers": json_documents.PlanOffer,
    "num_ruled_out": RuledOut,
    "runner_up": RunnerUp,
    "targets": SummaryLine,
    "tables": Table,
    "cells": Cell,
    "claims": Claim,
}


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _keys(title: str) -> list[str]:
    """The keys in the first column of a section's table, in order."""
    cells = [
        line.split(" | ")[0] for line in _section(title).splitlines() if line.startswith("| `")
    ]
    return [key for cell in cells for key in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize("title", SECTIONS)
def test_section_has_the_keys_of_the_schema(title: str) -> None:
    """The keys of each table are those of its document, in its order."""
    kind: Any = SECTIONS[title]
    names = (
        [field.name for field in dataclasses.fields(kind)]
        if dataclasses.is_dataclass(kind)
        else list(kind.model_fields)
    )
    assert _keys(title) == names


def test_what_closes_every_output_is_explained() -> None:
    """Each of those keys has its row, in their order."""
    assert _keys("Every output") == list(envelope({}, provenance=None, warnings=(), seed=0))


def test_metrics_are_explained() -> None:
    """Every metric has its row."""
    assert _keys("metrics") == [field.name for field in dataclasses.fields(Metrics)]


@pytest.mark.parametrize(
    ("title", "kind"), [("served metrics", ServingMetrics), ("tiers", TierUse)]
)
def test_served_metrics_are_explained(title: str, kind: type) -> None:
    """Every figure of a served run, and of a tier, has its row."""
    assert _keys(title) == [field.name for field in dataclasses.fields(kind)]


def test_setting_is_explained() -> None:
    """The row of ``setting`` names every key of one."""
    row = next(line for line in _section("scenario").splitlines() if line.startswith("| `setting`"))
    assert re.findall(r"`(\w+)`", row)[1:] == list(Setting.model_fields)
