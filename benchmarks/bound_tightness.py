"""Compare greedy fixed placements with the bounds, and time the bounds.

    python benchmarks/bound_tightness.py

Each case has a 128-token prompt and 64 output tokens on server-8ch-ddr5-rtx-4090. Weights are
quantised to fit the host, and the routing is the model's default. Placements know the one draw of
the routing that is run; the bounds are those of a plan for that draw.

*By popularity* ranks experts by the number of passes that select them. *By gain* ranks an expert by
how much time the layers lose if it alone is added; gains are computed anew after every step. Misses
are split over CPU and link so that the layer ends first.
"""

import heapq
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import load_machine
from hwprofiles.units import format_bytes
from planner.bounds import mean_bounds
from planner.bounds.work import Work, work_of
from sim.costs.memory import MemoryRule
from sim.engine import engine
from sim.model.library import load_model
from sim.policies.actions import Action
from sim.policies.overlap import Overlap
from sim.policies.placement.fitting import room_by_card
from sim.policies.problem import Problem
from sim.policies.table import find_policy
from sim.routing.library import load_routing
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.lower import lower
from sim.step.simulate import Scenario, draw, problem_of
from sim.workload.batch import Batch, Passes

MACHINE = "server-8ch-ddr5-rtx-4090"
RULE = MemoryRule(has_context_apart=False)
CASES = (
    ("mixtral-8x7b", "8bit", ()),
    ("mixtral-8x7b", "16bit", ()),
    ("qwen3-30b-a3b", "16bit", ()),
    ("deepseek-v3", "4bit", ("cpu.memory_bytes=512GiB",)),
)
COLUMNS = (
    "model",
    "weights",
    "size",
    "experts",
    "static s",
    "clairvoyant s",
    "by gain s",
    "by popularity s",
    "gap, gain",
    "gap, popularity",
    "both bounds took s",
)
Bools = NDArray[np.bool_]


def cell_split(work: Work, number: int, is_hit: Bools) -> tuple[float, NDArray[np.int64], int]:
    """Split the missing experts of one layer in one pass over CPU and link.

    Return the least time of the layer's experts in ns, then the missing experts from cheapest to
    dearest on the CPU. The third value is how many of the cheapest the CPU takes.
    """
    first, last = work.experts.offsets[number], work.experts.offsets[number + 1]
    index, layer = divmod(int(work.experts.cell_of[number]), work.num_layers)
    cpu, gpu, tokens = (
        work.experts.cpu_ns[first:last],
        work.experts.gpu_ns[first:last],
        work.experts.tokens[first:last],
    )
    missing = np.flatnonzero(~is_hit)
    order = missing[np.argsort(cpu[missing], kind="stable")]
    count = np.arange(len(order) + 1)
    sent = np.minimum(np.append(0, np.cumsum(tokens[order])), work.num_tokens[index])
    on_cpu = np.append(0, np.cumsum(cpu[order])) + (count > 0) * (
        work.activations_d2h[sent] + work.activations_h2d[sent]
    )
    on_gpu = work.ffn_gpu[index, layer] + gpu.sum() - np.append(0, np.cumsum(gpu[order]))
    copied = (len(order) - count) * work.fetch[layer] + (count < len(order)) * gpu.min()
    times = np.maximum(np.maximum(on_cpu, on_gpu), copied)
    return float(times.min()), order, int(times.argmin())


def split(work: Work, shape: tuple[int, ...], resident: Bools) -> NDArray[np.uint8]:
    """Return the action of every expert as an array [pass, layer, expert]."""
    actions = np.zeros(shape, np.uint8)
    for number, cell in enumerate(work.experts.cell_of):
        inside = slice(work.experts.offsets[number], work.experts.offsets[number + 1])
        index, layer = divmod(int(cell), shape[1])
        expert = work.experts.item[inside] % shape[2]
        _, order, on_cpu = cell_split(work, number, resident[layer, expert])
        actions[index, layer, expert] = Action.RESIDENT
        actions[index, layer, expert[order[:on_cpu]]] = Action.CPU
        actions[index, layer, expert[order[on_cpu:]]] = Action.FETCH
    return actions


def by_popularity(tokens: NDArray[np.int32], sizes: NDArray[np.int64], room: int) -> Bools:
    """Choose the experts that most passes select, up to ``room`` bytes: a mask [layer, expert]."""
    chosen = np.zeros(tokens.shape[1:], bool)
    for flat in np.argsort(-(tokens > 0).sum(axis=0), axis=None, kind="stable"):
        layer, expert = divmod(int(flat), tokens.shape[2])
        if 0 < sizes[layer] <= room:
            chosen[layer, expert], room = True, room - int(sizes[layer])
    return chosen


def by_gain(work: Work, tokens: NDArray[np.int32], sizes: NDArray[np.int64], room: int) -> Bools:
    """Choose experts by gain per byte, up to ``room`` bytes: a mask [layer, expert].

    A gain is computed anew when its expert is the first of the queue. Experts without a gain are
    left out.
    """
    chosen = np.zeros(tokens.shape[1:], bool)
    uses: dict[int, list[int]] = {}
    for number in range(len(work.experts.cell_of)):
        for item in work.experts.item[
            work.experts.offsets[number] : work.experts.offsets[number + 1]
        ]:
            uses.setdefault(int(item), []).append(number)
    now = [
        cell_split(work, number, _hits(work, number, chosen))[0]
        for number in range(len(work.experts.cell_of))
    ]

    def gain(item: int) -> float:
        """Return the ns per byte that one more expert on the GPU saves."""
        where = divmod(item, tokens.shape[2])
        chosen[where] = True
        after = sum(
            now[number] - cell_split(work, number, _hits(work, number, chosen))[0]
            for number in uses[item]
        )
        chosen[where] = False
        return float(after / sizes[where[0]])

    queue = [(-np.inf, item) for item in uses]
    while queue:
        _, item = heapq.heappop(queue)
        fresh = gain(item)
        if queue and fresh < -queue[0][0]:
            heapq.heappush(queue, (-fresh, item))
        elif fresh > 0 and sizes[item // tokens.shape[2]] <= room:
            chosen[divmod(item, tokens.shape[2])], room = (
                True,
                room - int(sizes[item // tokens.shape[2]]),
            )
            for number in uses[item]:
                now[number] = cell_split(work, number, _hits(work, number, chosen))[0]
    return chosen


def _hits(work: Work, number: int, chosen: Bools) -> Bools:
    return np.asarray(
        chosen.ravel()[
            work.experts.item[work.experts.offsets[number] : work.experts.offsets[number + 1]]
        ]
    )


def end_to_end_s(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], work: Work, resident: Bools
) -> float:
    """Return the simulated time of the placement in seconds."""
    zeros = np.zeros(tokens.shape[:2], np.uint8)
    decisions = Decisions(
        actions=split(work, tokens.shape, resident), modes=zeros, head_modes=zeros[:, 0]
    )
    return (
        float(
            engine("fast")
            .run_program(lower(problem, passes, tokens, decisions).program)
            .end_ns.max()
        )
        / 1e9
    )


def row(name: str, quantization: str, overrides: tuple[str, ...]) -> str:
    """One line of the table."""
    model = load_model(name, quantization)
    policy = replace(find_policy("on-demand"), overlap=Overlap())
    batch = Batch(prompt_tokens=128, output_tokens=64)
    scenario = Scenario(
        machine=load_machine(MACHINE, overrides),
        model=model,
        batch=batch,
        policy=policy,
        routing=load_routing(None, model),
    )
    problem, drawn = problem_of(scenario), draw(scenario, policy.feeding)
    passes, tokens = drawn.passes, drawn.tokens
    mean_bounds(problem, [drawn])  # compiles
    begin = time.perf_counter()
    bounds = mean_bounds(problem, [drawn])
    end = time.perf_counter()
    work, sizes = (
        work_of(problem, passes, tokens),
        np.array([layer.expert_bytes for layer in model.layers]),
    )
    [room] = room_by_card(problem, RULE, np.ones(model.num_layers, bool))
    popular = end_to_end_s(problem, passes, tokens, work, by_popularity(tokens, sizes, room))
    gainful = end_to_end_s(problem, passes, tokens, work, by_gain(work, tokens, sizes, room))
    figures = [
        f"{seconds:.3f}" for seconds in (bounds.static_s, bounds.clairvoyant_s, gainful, popular)
    ]
    gaps = [f"{seconds / bounds.static_s - 1:.1%}" for seconds in (gainful, popular)]
    items = len(model.moe_layers) * model.num_experts
    return (
        "| "
        + " | ".join(
            [
                name,
                quantization,
                format_bytes(model.total_bytes),
                f"{items:,}",
                *figures,
                *gaps,
                f"{end - begin:.2f}",
            ]
        )
        + " |"
    )


def main() -> None:
    """Print the table."""
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for case in CASES:
        print(row(*case), flush=True)


if __name__ == "__main__":
    main()
