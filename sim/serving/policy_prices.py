"""Prices of steps under an expert policy, simulated at the step scale.

The step scale simulates batches of some sizes once; sizes between these are interpolated. Attention
is not part of the table: it is priced by its contexts, as without a policy. The sum of both is
exact where nothing else runs beside attention. So policies must leave all but the experts on the
GPU, fetch nothing ahead and always hold the same experts.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, weakest
from sim.costs.cost_model import CostModel
from sim.costs.memory import Infeasible, Residency, activation_bytes, machine_bytes, weight_bytes
from sim.policies.foresight import Foresight
from sim.policies.placement.layers import AllLayersPlacement
from sim.policies.placement.limits import placed
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.routing.base import Routing, tokens_per_expert
from sim.serving.cluster import Cluster, ServingSetting, cluster_of, prepare
from sim.serving.gpu_prices import attention_prices, attention_warnings
from sim.serving.prices import TICKS_PER_NS, StepPrices
from sim.step.execute import execute
from sim.step.simulate import Scenario, check, problem_of
from sim.workload.batch import Batch, Feeding, Passes

STEPS_PER_DOUBLING = 2
"""Points of the grid of tokens for each doubling of the tokens."""
# The spread of a mean over draws falls with the number of tokens that each draw has.
DRAWS_OF_FEW, DRAWS_OF_MANY = 16, 2
"""Batches simulated at a point of the grid: more where few tokens make them differ."""
MANY_TOKENS = 128
KV_FRACTION = 0.25
"""The share of GPU memory for KV beside experts where ``kv_tokens`` is not stated: assumed."""

Ns = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPolicy:
    """A policy, the routing that selects experts, and the seed of the routing."""

    policy: Policy
    routing: Routing
    seed: int = 0


def prepare_policy(setting: ServingSetting, served: ServedPolicy) -> Cluster | Infeasible:
    """Return the cluster of a model whose experts are where the policy puts them; Infeasible where
    the policy finds no placement.

    Raises InputError for a policy that cannot be served.
    """
    policy = served.policy
    instance = setting.instance
    # A policy that keeps all on the GPUs is what the plain prices are of, at any number of GPUs.
    if instance.num_gpus > 1 and isinstance(policy.placement, AllLayersPlacement):
        return prepare(setting)
    _check(setting, served)
    kv_tokens = _kv_tokens(setting)
    batch = Batch(prompt_tokens=kv_tokens, output_tokens=1)
    scenario = Scenario(
        machine=setting.machine,
        model=setting.model,
        batch=batch,
        policy=policy,
        routing=served.routing,
        seed=served.seed,
    )
    check(
        replace(scenario, batch=Batch(prompt_tokens=1, output_tokens=1))
    )  # KV of many sequences may be longer than any one of them
    # Activations are those of the longest step, not of all the KV as one prompt.
    problem = replace(
        problem_of(scenario), feeding=Feeding(prefill_chunk_tokens=instance.max_step_tokens)
    )
    residency = placed(policy.placement, problem)
    if isinstance(residency, Infeasible):
        return residency
    if not (
        residency.dense.all()
        and residency.has_head
        and (residency.kv is None or residency.kv.all())
    ):
        raise InputError(
            f"policy {policy.name}: it keeps layers off the GPU; at the serving scale only experts may be elsewhere"
        )
    prices = _prices(setting, served, problem, residency)
    return cluster_of(
        setting, prices, kv_tokens // instance.block_tokens, weight_bytes(setting.model, residency)
    )


def _check(setting: ServingSetting, served: ServedPolicy) -> None:
    """Raise InputError for a setting and a policy that cannot be served."""
    policy = served.policy
    instance = setting.instance
    if not setting.model.moe_layers:
        raise InputError(
            f"policy {policy.name}: {setting.model.name} has no experts; leave the policy out"
        )
    # The table of prices is by number of tokens alone: whatever else a step's time depends on
    # cannot be served by it.
    reasons = {
        "it holds other experts from step to step": policy.cache.score is not None,
        "it fetches ahead": policy.prefetch.is_active,
        "it takes micro-batches of one batch through its layers together": policy.tuning is not None
        or policy.feeding.is_pipelined,
        "its tokens differ from a plain forward pass": not policy.is_lossless,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise InputError(
                f"policy {policy.name}: {reason}; the serving scale takes policies that only place experts, once and for all"
            )
    if instance.num_gpus > 1:
        raise InputError(
            f"policy {policy.name} runs on one GPU; set instance.num_gpus to 1, got {instance.num_gpus}"
        )


def _kv_tokens(setting: ServingSetting) -> int:
    """Tokens of KV that the GPU sets aside: as stated, else one context of full length, but at most
    KV_FRACTION of its memory.
    """
    if setting.instance.kv_tokens is not None:
        return setting.instance.kv_tokens
    most = int(KV_FRACTION * machine_bytes(setting.machine)) // max(
        1, setting.model.kv_bytes_per_token
    )
    return min(setting.model.max_context_tokens, most)


def _prices(
    setting: ServingSetting, served: ServedPolicy, problem: Problem, residency: Residency
) -> StepPrices:
    """Return the prices of steps by their number of tokens.

    Up to ``max_sequences`` tokens, batches that only decode are simulated; beyond that, chunks of
    one prompt.
    """
    costs = problem.costs
    instance = setting.instance
    grid = _grid(instance.max_step_tokens)
    # Decoding sequences select experts independently, tokens of a prompt resemble each other: two
    # kinds of steps, two simulations. Larger steps always hold a chunk of a prompt.
    decode = [tokens for tokens in grid if tokens <= instance.max_sequences]
    prefill = [tokens for tokens in grid if tokens > instance.max_sequences]
    points = _simulated(served, problem, residency, decode, is_prefill=False)
    if prefill:
        points |= _simulated(served, problem, residency, prefill, is_prefill=True)
    known = np.array(sorted(points))
    base = np.interp(
        np.arange(instance.max_step_tokens + 1),
        known,
        [points[tokens] for tokens in known.tolist()],
    )
    # The simulation has the machine's own overheads in it, but not what the server's software adds.
    base += instance.step_overhead_ns
    base[0] = 0
    head = costs.head("gpu", np.arange(instance.max_sequences + 1)).ns
    head[0] = 0
    gpu = setting.machine.gpu
    return StepPrices(
        base=tuple(round(float(ns) * TICKS_PER_NS) for ns in base),
        head=tuple(int(ns) * TICKS_PER_NS for ns in head),
        attention=attention_prices(costs),
        num_layers=setting.model.num_layers,
        provenance=weakest(
            [
                served.routing.provenance,
                gpu.memory_bytes_per_s.provenance,
                *(rate.provenance for rate in gpu.flops_per_s.values()),
            ]
        ),
        warnings=tuple(_warnings(setting, served, residency)),
    )


def _grid(longest: int) -> list[int]:
    exponents = np.arange(0, np.log2(longest) + 1 / STEPS_PER_DOUBLING, 1 / STEPS_PER_DOUBLING)
    return sorted({min(longest, round(2.0**exponent)) for exponent in exponents} | {longest})


def _simulated(
    served: ServedPolicy,
    problem: Problem,
    residency: Residency,
    sizes: list[int],
    *,
    is_prefill: bool,
) -> dict[int, float]:
    """Return the mean ns of a step of each size, without attention and vocabulary.

    One run of the fast engine simulates all batches, each drawn anew.
    """
    rows = [
        (size, draw)
        for size in sizes
        for draw in range(DRAWS_OF_FEW if size < MANY_TOKENS else DRAWS_OF_MANY)
    ]
    passes = _passes(rows, is_prefill=is_prefill)
    # A draw is another sequence in prefill and another position in decode.
    sequences, positions = (DRAWS_OF_FEW, max(sizes)) if is_prefill else (max(sizes), DRAWS_OF_FEW)
    ids = served.routing.experts(problem.model, sequences, positions, served.seed)
    tokens = tokens_per_expert(problem.model, ids, passes)
    foresight = Foresight(
        problem=problem,
        residency=residency,
        routing=served.routing,
        passes=passes,
        tokens=tokens,
        expert_ids=ids,
        seed=served.seed,
    )
    execution = execute(served.policy, residency, foresight, "fast")
    ends_ns = execution.timeline.end_ns[execution.last_task]
    # Passes follow each other without overlap, so the time between their ends is what each took.
    rest_ns = np.diff(ends_ns, prepend=0) - _attention_and_head_ns(problem.costs, passes)
    return {
        size: float(
            np.mean([ns for (row, _), ns in zip(rows, rest_ns, strict=True) if row == size])
        )
        for size in sizes
    }


def _passes(rows: list[tuple[int, int]], *, is_prefill: bool) -> Passes:
    """Return a pass for each row (size, draw).

    In prefill, the pass has ``size`` positions of the sequence ``draw``. In decode, it has ``size``
    sequences at the position ``draw``.
    """
    sizes, draws = np.array(rows, np.int32).T.copy()
    zeros = np.zeros_like(sizes)
    ones = np.ones_like(sizes)
    return Passes(
        step=np.arange(len(rows), dtype=np.int32),
        num_tokens=sizes,
        num_sequences=ones if is_prefill else sizes,
        first_sequence=draws if is_prefill else zeros,
        first_position=zeros if is_prefill else draws,
        context_tokens=sizes if is_prefill else draws + 1,
        group=np.arange(len(rows), dtype=np.int32),
        is_prefill=np.full(len(rows), is_prefill),
    )


def _attention_and_head_ns(costs: CostModel, passes: Passes) -> Ns:
    """Return the ns of attention and vocabulary, which are priced apart, in each simulated pass:
    float64 [passes].
    """
    ends = passes.context_tokens
    total = np.asarray(costs.head("gpu", passes.num_sequences).ns, np.float64)
    for layer in range(costs.model.num_layers):
        total += costs.attention(
            "gpu", layer, passes.num_tokens, passes.num_sequences, passes.first_position, ends
        ).ns
    return total


def _warnings(setting: ServingSetting, served: ServedPolicy, residency: Residency) -> list[str]:
    model = setting.model
    instance = setting.instance
    found = [*attention_warnings(CostModel(machine=setting.machine, model=model))]
    found += [
        f"steps under {served.policy.name} are simulated for some numbers of tokens and interpolated between them"
    ]
    step = Batch(prompt_tokens=instance.max_step_tokens, output_tokens=1)
    if instance.kv_tokens is None:
        found.append(
            f"the GPU keeps {_kv_tokens(setting):,} tokens of KV beside experts; instance.kv_tokens says otherwise"
        )
    if setting.machine.gpu.count > setting.num_instances:
        found.append(
            f"the machine has {setting.machine.gpu.count} GPUs; this policy uses {setting.num_instances} of them"
        )
    held = (
        weight_bytes(model, residency)
        + _kv_tokens(setting) * model.kv_bytes_per_token
        + activation_bytes(model, step, Feeding())
    )
    # Said, not refused: published policies may set aside less than serving needs.
    over = held - machine_bytes(setting.machine)
    if over > 0:
        found.append(
            f"{served.policy.name} sets aside too little: GPU memory would be exceeded by {over} bytes"
        )
    return found
