"""The JSON keys of the commands that simulate, which docs/reference/json.md explains."""

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
    """The record that repeats a run.

    Names and numbers stand as they were given; ``setting`` and ``policy`` stand as in a plan file.
    """

    command: str
    setting: Setting
    quantization: str
    routing_description: str
    engine: str
    policy: dict[str, Any] | None


class ResourceTime(Document):
    """The time that one resource was busy: in seconds, as a share of the run, and by kind of work.

    ``alone_fraction`` is the share of the run during which no other resource was busy.
    """

    resource: str
    busy_s: float
    busy_fraction: float
    alone_fraction: float
    kinds_s: dict[str, float]


class MemoryItem(Document):
    """An item that memory holds throughout the run."""

    item: str
    bytes: int


class Memory(Document):
    """One GPU's memory: its size, the most that was held at once, and the items of that."""

    total_bytes: int
    peak_bytes: int
    items: list[MemoryItem]


class HostMemory(Document):
    """The host's memory: its size, and the items of the model that it holds throughout.

    ``total_bytes`` is null if the size is not stated.
    """

    total_bytes: int | None
    held_bytes: int
    items: list[MemoryItem]


class Basis(Document):
    """The basis of a run: the numbers of the machine that price it, its routing and its model.

    ``num_numbers`` counts the numbers by kind of provenance.
    """

    num_numbers: dict[Kind, int]
    numbers: list[UsedNumber]
    routing: Provenance
    model: Provenance
    extrapolated: list[str]


class SimulateResult(Document):
    """The result of ``rosin simulate``."""

    scenario: ScenarioRecord
    metrics: Metrics
    time: list[ResourceTime]
    memory: Memory
    host_memory: HostMemory
    basis: Basis
    timeline_digest: str


class ComparedPolicy(Document):
    """One policy of a comparison.

    ``overlap_fractions`` divides the run by the set of resources that were busy, and sums to 1.
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
    """A policy that finds no placement, with the reason and the bytes that it lacks."""

    policy: str
    reason: str
    missing_bytes: int


class CompareResult(Document):
    """The result of ``rosin compare``: rows, the fastest first, and policies that do not fit."""

    scenario: ScenarioRecord
    rows: list[ComparedPolicy]
    infeasible: list[MisfitPolicy]


class PlanRival(Document):
    """A named system on the same work: its metrics, or the reason why it does not run.

    ``speed_fraction`` is its speed as a fraction of the plan's. Both are means over ``num_draws``
    draws, which are the plan's first. If ``num_sampled_tokens`` is not null, the run was not
    simulated whole. Both are then estimated from the prompt and that many output tokens.
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
    """The best policy of one offer, or the reason why the offer gives no plan.

    An offer is a way to store the weights, a number of CPU threads, a layout of layers over cards,
    or a kind of disk reads. ``metrics`` and ``worse_fraction`` are means over ``num_draws`` draws,
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
    """The best prediction for a runtime's own arguments, by the plan's objective.

    ``lost_fraction`` is the share of the plan's speed that the runtime does not reach. It is
    negative if the runtime is predicted to be faster. If the runtime has no plan, all fields but
    ``runtime`` and ``reason`` are null.
    """

    runtime: str
    command_line: str | None
    ttft_s: float | None
    tpot_s: float | None
    end_to_end_s: float | None
    lost_fraction: float | None
    reason: str | None


class PlanConstraints(Document):
    """The constraints that the plan keeps to."""

    max_ttft_s: float | None
    reserve_vram_bytes: int
    is_lossless: bool


class PlanResult(Document):
    """The result of ``rosin plan``; ``plan`` is as in its file, and ``command`` runs it again."""

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
