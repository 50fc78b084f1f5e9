"""What the commands that serve write as JSON, key by key: the schema that docs/reference/json.md
explains.
"""

from typing import Any

from hwprofiles import Kind, Provenance
from rosin.report.document import Document
from rosin.report.json_documents import Memory
from sim.serving.metrics import ServingMetrics
from sim.step.provenance import UsedNumber


class ServedWorkload(Document):
    """Which requests were served: as they were named, and where they are from."""

    name: str
    source: str
    date: str


class ServeRecord(Document):
    """All that is needed to repeat a served run; ``serving`` as in a serving file, with everything
    that was left out.
    """

    command: str
    machine: str
    model: str
    quantization: str
    workload: ServedWorkload
    serving: dict[str, Any]
    policy: str | None


class ServeBasis(Document):
    """What a served run rests on: the numbers of the machine and of the serving file, their kinds
    counted, and the model.
    """

    num_numbers: dict[Kind, int]
    numbers: list[UsedNumber]
    model: Provenance


class ServeResult(Document):
    """What ``rosin simulate --workload`` found; the memory is that of one instance's GPUs together."""

    scenario: ServeRecord
    metrics: ServingMetrics
    memory: Memory
    basis: ServeBasis


class TriedServing(Document):
    """A way of serving that was tried: what it is in words, as a serving file, and what came of it."""

    label: str
    num_gpus: int
    meets_target: bool | None
    serving: dict[str, Any]
    metrics: ServingMetrics


class KvPlanResult(Document):
    """What ``rosin kv-plan`` found; ``rows`` are the best first."""

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
