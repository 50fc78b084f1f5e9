"""What the commands that simulate write as JSON, key by key: the schema that docs/reference/json.md
explains.
"""

from typing import Any

from pydantic import Field

from hwprofiles import Kind, Provenance
from planner.search.plan import Setting
from planner.search.search import RunnerUp
from planner.search.steps import RuledOut
from rosin.report.document import Document
from sim.step.metrics import Metrics
from sim.step.provenance import UsedNumber


class ScenarioRecord(Document):
    """All that is needed to repeat a run: names and numbers as they were said, ``setting`` and
    ``policy`` as in a plan file.
    """

    command: str
    setting: Setting
    quantization: str
    routing_description: str
    engine: str
    policy: dict[str, Any] | None


class ResourceTime(Document):
    """How long one resource was busy: in seconds, as a share of the run, alone, and by kind of
    work.
    """

    resource: str
    busy_s: float
    busy_fraction: float
    alone_fraction: float
    kinds_s: dict[str, float]


class MemoryItem(Document):
    """Something that GPU memory holds throughout."""

    item: str
    bytes: int


class Memory(Document):
    """One GPU's memory: what it has, the most that was held at once, what that was made of."""

    total_bytes: int
    peak_bytes: int
    items: list[MemoryItem]


class HostMemory(Document):
    """The host's memory: what it has (null where that is not stated), what of the model it holds
    throughout, and what that is made of.
    """

    total_bytes: int | None
    held_bytes: int
    items: list[MemoryItem]


class Basis(Document):
    """What a run rests on: every number of the machine it was charged by, their kinds counted, its
    routing and its model.
    """

    num_numbers: dict[Kind, int]
    numbers: list[UsedNumber]
    routing: Provenance
    model: Provenance
    extrapolated: list[str]


class SimulateResult(Document):
    """What ``rosin simulate`` found."""

    scenario: ScenarioRecord
    metrics: Metrics
    time: list[ResourceTime]
    memory: Memory
    host_memory: HostMemory
    basis: Basis
    timeline_digest: str


class ComparedPolicy(Document):
    """One policy of a comparison; ``overlap_fractions`` says how the run divides by what was busy,
    and sums to 1.
    """

    policy: str
    is_lossless: bool
    knows_future: bool
    metrics: Metrics
    speed_fraction: float
    busiest_resource: str
    overlap_fractions: dict[str, float]
    timeline_digest: str
    settings: dict[str, Any]
    warnings: list[str]


class MisfitPolicy(Document):
    """A policy that finds no placement: why, and how many bytes it is short of."""

    policy: str
    reason: str
    missing_bytes: int


class CompareResult(Document):
    """What ``rosin compare`` found: rows with the fastest first, and those that do not fit."""

    scenario: ScenarioRecord
    rows: list[ComparedPolicy]
    infeasible: list[MisfitPolicy]


class PlanRival(Document):
    """A named system on the same work: what it would reach, or why it does not run;
    ``speed_fraction`` is of the plan's.

    Both are means over its ``num_draws`` draws, the first of the plan's. Where its run was not made
    whole, both are foretold from its prompt and ``num_sampled_tokens`` output tokens.
    """

    policy: str
    is_lossless: bool
    knows_future: bool
    metrics: Metrics | None
    speed_fraction: float | None
    num_draws: int
    num_sampled_tokens: int | None
    reason: str | None
    missing_bytes: int | None


class PlanOffer(Document):
    """One of several ways offered to store weights, numbers of CPU threads, layouts of layers over
    cards, or kinds of reads from a disk: its best policy, or why nothing of it may be the plan.

    ``metrics``, and by how much it is worse than the plan, are means over its ``num_draws`` draws,
    which are the plan's first.
    """

    quantization: str
    cpu_threads: int | None
    layers_by_card: list[int] = Field(default=[])
    disk_reads: str = "cached"
    is_chosen: bool
    policy: str | None
    metrics: Metrics | None
    speed_fraction: float | None
    worse_fraction: float | None
    half_width_fraction: float | None
    num_draws: int
    reason: str | None
    missing_bytes: int | None


class PlanRuntime(Document):
    """What the best of a runtime's own arguments is predicted to reach, by the same objective.

    ``lost_fraction`` is the share of the plan's speed that it does not reach, below 0 where it is
    predicted to be faster. All but ``runtime`` are null where it has no plan, for the ``reason``.
    """

    runtime: str
    command_line: str | None
    ttft_s: float | None
    tpot_s: float | None
    end_to_end_s: float | None
    lost_fraction: float | None
    reason: str | None


class PlanConstraints(Document):
    """What the plan keeps to."""

    max_ttft_s: float | None
    reserve_vram_bytes: int
    is_lossless: bool


class PlanResult(Document):
    """What ``rosin plan`` found; ``plan`` as in its file, ``command`` runs it again."""

    command: str
    objective: str
    constraints: PlanConstraints
    num_tried: int
    num_ruled_out: RuledOut
    is_stopped: bool
    plan: dict[str, Any]
    path: str | None
    predicted: Metrics
    num_draws: int
    end_to_end_half_width_s: float | None
    price_per_hour_usd: float | None
    usd_per_million_output_tokens: float | None
    timeline_digest: str
    static_bound_s: float | None
    clairvoyant_bound_s: float | None
    gap_to_static_bound_fraction: float | None
    gap_to_clairvoyant_bound_fraction: float | None
    binding_resource: str
    shadow_prices: dict[str, float] | None
    resimulated_prices: dict[str, float | None] | None
    runner_up: RunnerUp | None
    offers: list[PlanOffer]
    rivals: list[PlanRival]
    runtimes: list[PlanRuntime]
    time: list[ResourceTime]
    memory: Memory
    host_memory: HostMemory
    basis: Basis
