"""One run: it takes a scenario and returns everything that happens."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Machine
from sim.costs.cards import CardSplit, gpu_bytes
from sim.costs.cost_model import CostModel
from sim.costs.host_room import DiskReads
from sim.costs.memory import DenseShare, Infeasible, MemoryRule, Residency
from sim.engine.timeline import Timeline
from sim.memo import Memo
from sim.model.model import Model
from sim.policies.foresight import Foresight
from sim.policies.placement.fitting import bytes_by_gpu, items_of_card
from sim.policies.placement.limits import placed
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.policies.together import check_parts
from sim.room import OWN_MEMORY, Room
from sim.routing.base import Routing, tokens_per_expert
from sim.step.card_notes import card_notes
from sim.step.execute import execute
from sim.step.lowering.decisions import Decisions
from sim.step.metrics import Metrics, measure
from sim.workload.batch import Batch, Feeding, Passes, forward_passes, with_shared_prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What runs where: all of a scenario but its policy, which a search looks for.

    ``slots_per_layer`` fixes how many experts of each layer the GPU holds. ``expert_cache_bytes``
    limits the experts that all cards hold together.

    ``split`` says how the model lies on several cards (None: one card has all of it). If experts
    are dealt out, each card has its own stream, copies and memory. If all cards hold slices, one
    card stands for all. If whole layers are laid out, the cards may differ; then ``machine`` is
    that of the first card, and ``model`` is laid out. In each mode, hidden states go from card to
    card through the host, or directly if the machine states a ``gpu_link``.
    """

    machine: Machine
    model: Model
    batch: Batch
    routing: Routing
    seed: int = 0
    engine: str = "fast"
    slots_per_layer: int | None = None
    expert_cache_bytes: int | None = None
    split: CardSplit | None = None
    disk_reads: DiskReads = DiskReads.CACHED

    @property
    def num_gpus(self) -> int:
        """The number of GPUs that experts are dealt out to."""
        return 1 if self.split is None else self.split.num_gpus

    def under(self, policy: Policy) -> "Scenario":
        """The scenario of this question under a policy."""
        own = {item.name: getattr(self, item.name) for item in fields(Question)}
        return Scenario(**own, policy=policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(Question):
    """What is simulated: a question under a policy."""

    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A simulated run: its decisions, its timeline and its figures."""

    scenario: Scenario
    residency: Residency
    passes: Passes
    tokens: NDArray[np.int32]
    decisions: Decisions
    timeline: Timeline
    metrics: Metrics
    memory_items: dict[str, int]
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The passes of a batch under one feeding, and the experts that their tokens select.

    ``expert_ids`` and ``tokens`` are as in Foresight. ``shared``, which belongs to one routing,
    keeps what several runs over the draw have in common.
    """

    passes: Passes
    expert_ids: NDArray[np.int16]
    tokens: NDArray[np.int32]
    shared: Memo | None = None

    @cached_property
    def selected(self) -> NDArray[np.int64]:
        """The indices in ``tokens``, flattened, of experts with tokens, ascending.

        They are found once for all runs over the draw.
        """
        return np.flatnonzero(self.tokens.ravel() > 0)


def simulate(scenario: Scenario) -> Run | Infeasible:
    """Run the scenario. Raises InputError for a scenario that cannot be run.

    Return Infeasible, with its reason, if the policy finds no placement within memory.
    """
    check(scenario)
    scenario = tuned(scenario)
    problem = problem_of(scenario)
    residency = placed(scenario.policy.placement, problem)
    if isinstance(residency, Infeasible):
        return residency
    return run_drawn(scenario, problem, residency, draw(scenario, scenario.policy.feeding))


def tuned(scenario: Scenario, common_costs: CostModel | None = None) -> Scenario:
    """The scenario under a policy with all parameters set."""
    policy = scenario.policy
    return (
        scenario
        if policy.tuning is None
        else replace(
            scenario, policy=policy.tuning.tune(policy, problem_of(scenario, common_costs))
        )
    )


def run_drawn(
    scenario: Scenario,
    problem: Problem,
    residency: Residency,
    drawn: Drawn,
    room: Room = OWN_MEMORY,
) -> Run:
    """Run the scenario from a given residency, over a given draw of its routing.

    The timeline may lie in ``room``, so the next run in that room may overwrite it.
    """
    foresight = foresight_of(scenario, problem, residency, drawn)
    execution = execute(scenario.policy, residency, foresight, scenario.engine, room=room)
    items = memory_items(problem, residency, scenario.policy)
    # Where nothing is predicted, all runs over a draw share what is selected.
    selected = (
        drawn.selected if execution.tokens is drawn.tokens else np.flatnonzero(execution.tokens)
    )
    metrics = measure(
        execution,
        scenario.batch,
        foresight,
        selected,
        num_resident_experts=residency.num_experts,
        fixed_bytes=fixed_bytes(problem, residency, items),
    )
    return Run(
        scenario=scenario,
        residency=residency,
        passes=drawn.passes,
        tokens=execution.tokens,
        decisions=execution.decisions,
        timeline=execution.timeline,
        metrics=metrics,
        memory_items=items,
        warnings=warnings_of(scenario, metrics),
    )


def fixed_bytes(
    problem: Problem, residency: Residency, items: Mapping[str, int]
) -> tuple[int, ...]:
    """Return the bytes that are held throughout of each GPU's memory; ``items`` are those of GPU 0.

    Cards on which layers are laid out count as one GPU.
    """
    if problem.layer_split is not None:
        return (sum(items.values()),)
    others = bytes_by_gpu(problem, residency.experts)[1:]
    return (sum(items.values()), *(items["CUDA context"] + held for held in others))


def foresight_of(
    scenario: Scenario, problem: Problem, residency: Residency, drawn: Drawn
) -> Foresight:
    """Return what a prefetcher may look at, for a given residency and a given draw of
    the routing.
    """
    return Foresight(
        problem=problem,
        residency=residency,
        routing=scenario.routing,
        passes=drawn.passes,
        tokens=drawn.tokens,
        expert_ids=drawn.expert_ids,
        seed=scenario.seed,
        shared=drawn.shared,
    )


def problem_of(scenario: Scenario, common_costs: CostModel | None = None) -> Problem:
    """Return what the policy's parts may know before the run.

    The problem shares ``common_costs``, which are of the same machine and model, with other
    problems.
    """
    popularity = np.zeros((scenario.model.num_layers, scenario.model.num_experts))
    popularity[list(scenario.model.moe_layers)] = scenario.routing.popularity(scenario.model)
    return Problem(
        machine=scenario.machine,
        model=scenario.model,
        batch=scenario.batch,
        feeding=scenario.policy.feeding,
        popularity=popularity,
        overlap=scenario.policy.overlap,
        slots_per_layer=scenario.slots_per_layer,
        expert_cache_bytes=scenario.expert_cache_bytes,
        keeps_host_copies=scenario.policy.needs_host_copies,
        common_costs=common_costs,
        split=scenario.split,
        disk_reads=scenario.disk_reads,
    )


def draw(question: Question, feeding: Feeding) -> Drawn:
    """Return the passes under that feeding and their experts, from the question's routing and seed.

    Every feeding gets the same tokens. The hypotheses of a prompt share its tokens, and so its
    experts; sequence s is a hypothesis of prompt s modulo the batch size.
    """
    ids = draw_ids(question)
    passes = forward_passes(question.batch, feeding)
    return Drawn(
        passes=passes, expert_ids=ids, tokens=tokens_per_expert(question.model, ids, passes)
    )


def draw_ids(question: Question) -> NDArray[np.int16]:
    """Return which experts the question's tokens select, as ``expert_ids`` in Foresight."""
    batch = question.batch
    ids = question.routing.experts(
        question.model, batch.num_sequences, batch.context_tokens - 1, question.seed
    )
    return with_shared_prompts(ids, batch)


def memory_items(problem: Problem, residency: Residency, policy: Policy) -> dict[str, int]:
    """Return the bytes of GPU 0 that are held throughout the run, by item.

    They are all that the run needs, whatever the policy budgeted. If layers are laid out over
    cards, they are those of all cards.
    """
    # The policy's own rule may leave something out: what the run needs is counted by the default.
    budgeted = getattr(policy.placement, "memory", MemoryRule())
    rule = MemoryRule(micro_batch_tokens=budgeted.micro_batch_tokens, is_eager=budgeted.is_eager)
    cards = range(1 if problem.layer_split is None else problem.num_cards)
    total: Counter[str] = Counter()
    for card in cards:
        total.update(_items(problem, residency, rule, card))
    return dict(total)


def _items(problem: Problem, residency: Residency, rule: MemoryRule, card: int) -> dict[str, int]:
    """Return the bytes that a card holds throughout the run, by item."""
    held = DenseShare(
        dense=residency.dense, has_head=residency.has_head, staging_bytes=0, kv=residency.kv
    )
    items = items_of_card(problem, rule, card, held)
    return dict(items) | {"resident experts": bytes_by_gpu(problem, residency.experts)[card]}


def check(scenario: Scenario) -> None:
    """Refuse what cannot be run. Raises InputError."""
    check_parts(scenario.policy)
    check_question(scenario)
    check_cards(scenario)


def check_question(question: Question) -> None:
    """Refuse what cannot be run under any policy. Raises InputError."""
    model = question.model
    batch = question.batch
    if batch.context_tokens > model.max_context_tokens:
        raise InputError(
            f"prompt and output are {batch.context_tokens} tokens, {model.name} takes at most {model.max_context_tokens}"
        )
    if model.is_dense:
        raise InputError(f"{model.name} is dense: it has no experts that a policy could place")
    kinds = {(layer.num_experts, layer.top_k) for layer in model.layers if layer.is_moe}
    if len(kinds) != 1:
        found = ", ".join(f"top-{top_k} of {count}" for count, top_k in sorted(kinds)) or "none"
        raise InputError(
            f"{model.name}: MoE layers must all select as many of as many experts, got {found}"
        )
    slots = question.slots_per_layer
    if not question.machine.has_gpu:
        raise InputError(
            f"{question.machine.name} has no GPU, which every policy computes on: name a machine with one"
        )
    if question.expert_cache_bytes is not None and question.expert_cache_bytes < 0:
        raise InputError(
            f"`expert_cache_bytes` must be at least 0, got {question.expert_cache_bytes}"
        )
    if slots is not None and not 0 <= slots <= model.num_experts:
        raise InputError(
            f"`expert_slots_per_layer` must be between 0 and the {model.num_experts} experts of a layer, got {slots}"
        )


def check_cards(scenario: Scenario) -> None:
    """Refuse a policy that cannot run on the scenario's cards. Raises InputError."""
    refusal = cards_refusal(scenario)
    if refusal is not None:
        assert scenario.split is not None
        split = scenario.split
        got = (
            f"`gpus` {split.num_cards} (`split_mode` {split.mode})"
            if split.layers is None
            else f"layers on {split.num_cards} cards"
        )
        if split.layers is not None and not scenario.policy.knows_one_gpu:
            got += "; `split_mode` experts deals them out"
        raise InputError(f"{scenario.policy.name} {refusal}, got {got}")


def cards_refusal(scenario: Scenario) -> str | None:
    """Why the policy cannot run on the scenario's cards, as a clause; None where it can."""
    policy = scenario.policy
    if shares_cards(scenario) and fits_cards(scenario):
        return None
    if policy.knows_one_gpu or scenario.split is None or scenario.split.layers is None:
        return "runs on one GPU only"
    return "has one cache over all layers, for which experts would have to be dealt out"


def shares_cards(scenario: Scenario) -> bool:
    """Whether the policy can run where the scenario's cards share every layer."""
    split = scenario.split
    policy = scenario.policy
    if split is None or split.layers is not None or split.num_cards == 1:
        return True
    if split.is_sliced:
        # Of parts of attention, which pipelined layers run apart, no slice is priced.
        return not policy.feeding.is_pipelined and policy.tuning is None
    return not policy.knows_one_gpu


def fits_cards(scenario: Scenario) -> bool:
    """Return whether the policy can run where the scenario lays layers out over cards.

    With one cache over all layers, an expert would take the slot of an expert on another card.
    """
    split = scenario.split
    policy = scenario.policy
    if split is None or split.layers is None or split.num_cards == 1:
        return True
    return not policy.knows_one_gpu and not policy.cache.is_global


def warnings_of(scenario: Scenario, metrics: Metrics) -> tuple[str, ...]:
    """What a reader must know before trusting the figures."""
    found = list(scenario.machine.assumptions)
    memory = gpu_bytes(scenario.machine, scenario.split)
    if metrics.peak_gpu_memory_bytes > memory:
        over = metrics.peak_gpu_memory_bytes - memory
        found.append(
            f"{scenario.policy.name} sets aside too little: the run would exceed GPU memory by {over} bytes"
        )
    slots = scenario.slots_per_layer
    if slots is not None and metrics.num_resident_experts != slots * len(scenario.model.moe_layers):
        found.append(
            f"{scenario.policy.name} places whole layers: `expert_slots_per_layer` {slots} was not followed"
        )
    found.extend(card_notes(scenario.machine, scenario.split))
    if "disk" in metrics.busy_s:
        found.append(
            "host memory has no room for all experts: they are read from the disk, "
            f"and what is read is {'kept in place of what was used longest ago' if scenario.disk_reads is DiskReads.CACHED else 'not kept'}"
        )
    if not scenario.policy.is_lossless:
        found.append(
            f"{scenario.policy.name} is lossy: its tokens differ from a plain forward pass"
        )
    if scenario.policy.knows_future:
        found.append(f"{scenario.policy.name} knows the future: no system can do what it does")
    return tuple(found)
