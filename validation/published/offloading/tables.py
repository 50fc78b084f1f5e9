"""Compare four papers' own figures with the simulator, in a table for each."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean

from hwprofiles import load_machine
from sim.policies import find_policy
from sim.workload.batch import Batch
from validation.published.fmoe.host_cost import layer_overhead_ns
from validation.published.offloading.mixtral import FULL, ablation_table, speed_cell
from validation.published.offloading.runs import MACHINES, OffloadingRun, lightning
from validation.published.popularity import refuse_popularity
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Reproduction, Table

SEQUENCES: Mapping[tuple[str, str], tuple[int, int]] = {
    ("MoE-Lightning", "S1 reasoning"): (36, 936),
    ("MoE-Lightning", "S2 reasoning"): (100, 1500),
    ("MoE-Lightning", "S1 summarization"): (4, 76),
    ("MoE-Lightning", "S2 summarization"): (8, 288),
    ("DeepSpeed ZeRO-Inference", "S1 reasoning"): (102, 102),
    ("DeepSpeed ZeRO-Inference", "S2 reasoning"): (156, 156),
    ("DeepSpeed ZeRO-Inference", "S1 summarization"): (8, 8),
    ("DeepSpeed ZeRO-Inference", "S2 summarization"): (12, 12),
}
"""Micro-batch and batch of table 4, by system and set-up."""

PROMOE_MODELS = ("deepseek-v2-lite", "qwen1.5-moe-a2.7b")
RESIDENT_FRACTIONS = (0.5, 0.25, 0.75)
"""Shares of the experts that the GPU holds. ProMoE's own are not in the sources at hand."""
HOSTS = {"eager loop": True, "no host time": False}
"""Host times to try: ProMoE runs in transformers, whose loop takes host time, or in llama.cpp."""

TITLES = {
    "moe-lightning": "MoE-Lightning (arXiv 2411.11217)",
    "moe-infinity": "MoE-Infinity (arXiv 2401.14361)",
    "promoe": "ProMoE (arXiv 2410.22134)",
    "mixtral-offloading": "Mixtral-Offloading (arXiv 2312.17238)",
}
ASSUMPTIONS = {
    "moe-lightning": "Padded prompts, micro-batch and batch as table 4 has them; attention on the "
    "CPU, experts on the GPU, as the paper's search always chose. Weights in 16 bit. The hosts' "
    "memory is assumed except for S2's 100 GB/s.",
    "moe-infinity": "16-bit weights, 128 prompt and 64 output tokens; the host is not named.",
    "promoe": "Half of the experts resident; beside it a quarter and three quarters. The loop of "
    "transformers as measured of 60 experts; beside it no host time. Mean of "
    "DeepSeek-V2-Lite and Qwen1.5-MoE-A2.7B, 128 prompt and 64 output tokens.",
    "mixtral-offloading": "Q2_K (2.9 bits a weight) stands for the paper's 2-bit experts; 4 "
    "experts of a layer on the GPU, 2 on the RTX 3060; hosts are not named. Beside copies a layer takes the loop of "
    "transformers as measured, as long for each of 70 more kernels, and 4 bytes of scales and zeros read for every weight.",
}


def reproduce_one(name: str) -> Callable[[int, Path | None], Reproduction]:
    """Return the function that reproduces the paper of that name."""

    def reproduce(seed: int, routing_popularity: Path | None) -> Reproduction:
        """Return the paper's table. Raises InputError for a popularity file, which it does not
        use.
        """
        refuse_popularity(routing_popularity, name, "its models have routings of their own")
        cells = tuple(_CELLS[name](row, seed) for row in _rows(name))
        table = Table(name=name, title=TITLES[name], assumptions=ASSUMPTIONS[name], cells=cells)
        return Reproduction(
            name=name,
            title=TITLES[name],
            seed=seed,
            routing="each model's shipped statistics",
            tables=(table, *(further(seed) for further in _FURTHER.get(name, ()))),
            summary=(),
        )

    return reproduce


def _rows(name: str) -> list[PublishedRow]:
    words = {
        "moe-lightning": ("S1", "S2"),
        "moe-infinity": ("RTX A5000",),
        "promoe": ("RTX 4090",),
        "mixtral-offloading": ("A100 80 GB", "RTX 3080 Laptop", "RTX 3060", "Tesla T4"),
    }[name]
    rows = published_rows("validation.published.offloading", "figures.csv")
    # One file has the figures of four papers; their machines tell them apart.
    own = [row for row in rows if row.environment.startswith(words)]
    # Rows of Mixtral-Offloading's other algorithms have a table of their own.
    return [row for row in own if row.system == FULL or not row.system.startswith(FULL)]


def _batch(row: PublishedRow, size: int = 1) -> Batch:
    assert row.input_tokens is not None
    assert row.output_tokens is not None
    return Batch(prompt_tokens=row.input_tokens, output_tokens=row.output_tokens, batch_size=size)


def _lightning_cell(row: PublishedRow, seed: int) -> Cell:
    micro_batch, size = SEQUENCES[row.system, row.environment]
    is_own = row.system == "MoE-Lightning"
    job = OffloadingRun(
        environment=row.environment.split()[0],
        model="mixtral-8x7b",
        policy=lightning(micro_batch) if is_own else find_policy("zero-streaming"),
        batch=_batch(row, size),
    )
    return cell_of(row, job.run(seed).output_tokens_per_s, note=f"batch {size}")


def _infinity_cell(row: PublishedRow, seed: int) -> Cell:
    model = "deepseek-v2-lite" if row.system == "DeepSeek-V2-Lite" else "mixtral-8x7b"
    job = OffloadingRun(
        environment=row.environment,
        model=model,
        policy=find_policy("moe-infinity"),
        batch=_batch(row),
    )
    own = job.run(seed).tpot_s
    if not row.system.startswith("against"):
        return cell_of(row, own)
    rival = "zero-streaming" if "DeepSpeed" in row.system else "mixtral-offloading"
    return cell_of(row, replace(job, policy=find_policy(rival)).run(seed).tpot_s / own)


def _promoe_cell(row: PublishedRow, seed: int) -> Cell:
    quantity = row.quantity.replace("_ratio", "_s")
    found = {
        f"{share:.0%} resident, {words}": mean(
            _promoe_ratio(job, quantity, share, seed) for job in _promoe_jobs(row, is_eager)
        )
        for words, is_eager in HOSTS.items()
        for share in RESIDENT_FRACTIONS
    }
    (_, first), *others = found.items()
    return cell_of(row, first, comparisons=dict(others))


def _promoe_jobs(row: PublishedRow, is_eager: bool) -> tuple[OffloadingRun, ...]:
    """Return a run of an LRU for each model.

    In eager loops, the host time is that measured of 60 experts.
    """
    machine = load_machine(MACHINES[row.environment][0])
    # The hooks belong to another engine; ProMoE runs in transformers without it.
    loop_ns = layer_overhead_ns("qwen1.5-moe-a2.7b", machine, has_hooks=False)
    return tuple(
        OffloadingRun(
            environment=row.environment,
            model=model,
            policy=find_policy("lru"),
            batch=_batch(row),
            layer_overhead_ns=loop_ns if is_eager else 0.0,
        )
        for model in PROMOE_MODELS
    )


def _promoe_ratio(given: OffloadingRun, quantity: str, share: float, seed: int) -> float:
    num_experts = {"deepseek-v2-lite": 64, "qwen1.5-moe-a2.7b": 60}[given.model]
    job = replace(given, slots=round(num_experts * share))
    own = replace(job, policy=find_policy("promoe")).run(seed)
    return float(getattr(job.run(seed), quantity) / getattr(own, quantity))


_CELLS: Mapping[str, Callable[[PublishedRow, int], Cell]] = {
    "moe-lightning": _lightning_cell,
    "moe-infinity": _infinity_cell,
    "promoe": _promoe_cell,
    "mixtral-offloading": speed_cell,
}

_FURTHER: Mapping[str, tuple[Callable[[int], Table], ...]] = {
    "mixtral-offloading": (ablation_table,)
}
"""Functions that make a paper's tables beside its first."""
