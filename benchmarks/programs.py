"""Programs of any length for benchmarks: random dependencies in order, or repeated decoder layers.

The repeated layers are those of an offloaded decoder.
"""

from dataclasses import replace

import numpy as np

from sim.engine.program import FULL_RATE, Platform
from sim.engine.task import Discipline, Resource, TaskTable

NUM_STREAMS = 5
STREAMS = Platform(
    resources=tuple(Resource(name=f"stream {index}") for index in range(NUM_STREAMS))
)

GPU, H2D, D2H, CPU = range(4)
LANES = (
    Resource(name="gpu"),
    Resource(name="h2d", discipline=Discipline.PRIORITY),
    Resource(name="d2h", discipline=Discipline.PRIORITY),
    Resource(name="cpu", discipline=Discipline.PRIORITY),
)
MACHINE = Platform(resources=LANES)

CHUNKS = 8

LAYER = (  # (resource, longest duration in us, chunks, priority, after: rows back)
    (GPU, 60, 1, 0, (4, 6, 9)),  # attention, after the experts of the layer before
    (GPU, 10, 1, 0, (1,)),  # gate
    (D2H, 5, 1, 0, (1,)),  # activations to the CPU
    (H2D, 900, 1, 0, (2,)),  # two experts fetched
    (H2D, 900, 1, 0, (3,)),
    (CPU, 700, 1, 0, (3,)),  # two experts on the CPU
    (CPU, 700, 1, 0, (4,)),
    (GPU, 20, 1, 0, (6, 9)),  # two experts prefetched in the layer before
    (GPU, 20, 1, 0, (7, 9)),
    (GPU, 20, 1, 0, (6,)),  # the two fetched ones
    (GPU, 20, 1, 0, (6,)),
    (H2D, 5, 1, 0, (6, 5)),  # results from the CPU
    (
        H2D,
        900,
        CHUNKS,
        2,
        (11,),
    ),  # two prefetches, the likelier first, that yield to the fetches of the next layer
    (H2D, 900, CHUNKS, 3, (12,)),
)


def disturbed(platform: Platform) -> Platform:
    """Return the platform with all pairs of resources slowing each other, by different factors."""
    size = len(platform.resources)
    factors = FULL_RATE * 9 // 10 - 1000 * np.arange(size * size, dtype=np.int64).reshape(
        size, size
    )
    return Platform(resources=platform.resources, rate_factors=factors)


def in_order_program(num_tasks: int, seed: int) -> TaskTable:
    """Return tasks on random streams, each after up to two of the 64 tasks before it."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, num_tasks)
    counts[0] = 0
    own = np.repeat(np.arange(num_tasks), counts)
    dependencies = np.maximum(0, own - 1 - rng.integers(0, 64, len(own)))
    resource = rng.integers(0, NUM_STREAMS, num_tasks)
    ones = np.ones(num_tasks, np.int64)
    return _table(
        resource, rng.integers(1, 10_000, num_tasks), 0 * ones, ones, counts, dependencies
    )


def layered_program(num_tasks: int, seed: int) -> TaskTable:
    """Return layers as in LAYER with random durations, ``num_tasks`` tasks or more in all."""
    rng = np.random.default_rng(seed)
    num_layers = -(-num_tasks // len(LAYER))
    resource, longest_us, chunks, priority = (
        np.tile([row[column] for row in LAYER], num_layers) for column in range(4)
    )
    counts = np.tile([len(row[4]) for row in LAYER], num_layers)
    own = np.repeat(np.arange(len(resource)), counts)
    dependencies = np.maximum(
        own - np.tile([back for row in LAYER for back in row[4]], num_layers), 0
    )
    counts[0], dependencies = 0, dependencies[len(LAYER[0][4]) :]
    durations = (longest_us * 1000 * rng.uniform(0.2, 1, len(resource))).astype(np.int64)
    return _table(resource, durations, priority, chunks, counts, dependencies)


def finely_chunked_program(num_tasks: int, seed: int) -> TaskTable:
    """Return the layered program with eight times as many chunks in its chunked tasks."""
    tasks = layered_program(num_tasks, seed)
    return replace(
        tasks, num_chunks=np.where(tasks.num_chunks > 1, 8 * tasks.num_chunks, 1).astype(np.int32)
    )


def _table(
    resource: np.ndarray,
    durations: np.ndarray,
    priority: np.ndarray,
    chunks: np.ndarray,
    counts: np.ndarray,
    after: np.ndarray,
) -> TaskTable:
    """Return the columns in their types, with ones in the columns that engines do not read.

    Zeros there would take no memory.
    """
    size = len(resource)
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return TaskTable(
        resource=resource.astype(np.int16),
        duration_ns=durations.astype(np.int64),
        priority=priority.astype(np.int32),
        num_chunks=chunks.astype(np.int32),
        dependency_offsets=offsets,
        dependencies=after.astype(np.int64),
        kind=np.ones(size, np.uint8),
        step=np.ones(size, np.int32),
        layer=np.ones(size, np.int16),
        expert=np.ones(size, np.int32),
        num_bytes=np.ones(size, np.int64),
    )
