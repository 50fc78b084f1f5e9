"""The JSON keys of the commands that serve a workload, which docs/reference/json.md explains."""

from typing import Any

from hwprofiles import Kind, Provenance
from rosin.report.document import Document
from rosin.report.json_documents import Memory
from sim.serving.metrics import ServingMetrics
from sim.step.provenance import UsedNumber


class ServedWorkload(Document):
    """The requests that were served: their name, their source and its date."""

    name: str
    source: str
    date: str


class ServeRecord(Document):
    """The record that repeats a served run.

    ``serving`` has the keys of a serving file, with all defaults filled in.
    """

    command: str
    machine: str
    model: str
    quantization: str
    workload: ServedWorkload
    serving: dict[str, Any]
    policy: str | None


class ServeBasis(Document):
    """The basis of a served run: the numbers of the machine and of the serving file, and the model.

    ``num_numbers`` counts the numbers by kind of provenance.
    """

    num_numbers: dict[Kind, int]
    numbers: list[UsedNumber]
    model: Provenance


class ServeResult(Document):
    """The result of ``rosin simulate --workload``; ``memory`` is that of one instance's GPUs
    together.
    """

    scenario: ServeRecord
    metrics: ServingMetrics
    memory: Memory
    basis: ServeBasis


class TriedServing(Document):
    """A way of serving that was tried: in words, as a serving file, and with its metrics."""

    label: str
    num_gpus: int
    meets_target: bool | None
    serving: dict[str, Any]
    metrics: ServingMetrics


class KvPlanResult(Document):
    """The result of ``rosin kv-plan``; ``rows`` has the best way of serving first."""

    machine: str
    model: str
    workload: str
    objective: str
    max_ttft_s: float | None
    max_itl_s: float | None
    verdict: str
    tiers_gain_fraction: float | None
    best: TriedServing
    against: TriedServing | None
    gain_over_against_fraction: float | None
    path: str | None
    kv_path: str | None
    rows: list[TriedServing]
