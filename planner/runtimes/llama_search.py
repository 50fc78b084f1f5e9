"""The search over what llama.cpp and ik_llama.cpp can express."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from planner.runtimes.asked import Asked
from planner.runtimes.llama_fill import filled, fillings
from planner.runtimes.llama_layout import Layout, arguments_of, homes_of, layout_of, placement_in
from planner.runtimes.option import Option
from sim.runtimes.features import cores_in_use
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.prompts import MIN_TOKENS
from sim.runtimes.placement import HOST

MICRO_BATCHES = (256, 512, 1024, 2048, 4096, 8192)
DEFAULT_BATCH_TOKENS = 2048
DEFAULT_MICRO_BATCH_TOKENS = 512
UNQUANTISED = ("f32", "f16", "bf16")
IK_NO_EXPERT_COPIES = ((27, 0), (29, 0))
"""Operations of ik_llama.cpp, each with state 0: their weights are not copied to a GPU.

The two operations are the products of experts, alone and fused.
"""


def llama_options(asked: Asked) -> Iterator[Option]:
    """Yield options that fit, each the best of its kind; the caller takes the best.

    Options differ in the type of keys and values, the micro-batch, and the split over GPUs. Options
    also differ in where experts in host memory are computed for a prompt.
    """
    threads = _threads(asked)
    for kv_type in asked.kv_types:
        for size in micro_batches(asked):
            base = _base(asked, kv_type, size, threads)
            for option in _of_base(asked, base):
                if asked.fits(option):
                    yield option


def llama_least(asked: Asked) -> Option:
    """Return the option that takes least of the GPUs: all layers on the host."""
    base = base_arguments(asked, asked.kv_types[0], MICRO_BATCHES[0])
    layout = layout_of((HOST,) * (asked.model.num_layers + 1), asked.model.moe_layers)
    return asked.option(arguments_of(asked, base, layout), placement_in(asked, layout))


def micro_batches(asked: Asked) -> Sequence[int]:
    """Return sizes in tokens worth a try: the default, then all up to the first with the whole
    prompt.

    Of sizes that are as fast, the first is taken.
    """
    others = asked.chunk_sizes(MICRO_BATCHES, DEFAULT_MICRO_BATCH_TOKENS)
    # The default comes first: of sizes that are as fast it is taken, and then needs no option.
    others.remove(DEFAULT_MICRO_BATCH_TOKENS)
    return [DEFAULT_MICRO_BATCH_TOKENS, *others]


def base_arguments(asked: Asked, kv_type: str, micro_batch: int) -> LlamaArguments:
    """Return arguments that place nothing: the room of the cache, its type, the micro-batch."""
    return LlamaArguments(
        runtime=asked.runtime,
        batch_tokens=max(DEFAULT_BATCH_TOKENS, micro_batch),
        micro_batch_tokens=micro_batch,
        key_type=kv_type,
        value_type=kv_type,
        is_flash_attention=None if kv_type in UNQUANTISED else True,
        context_tokens=asked.load.cache_tokens,
        is_fitted=False,
        # Else threads of one socket read what lies with another.
        numa="distribute" if asked.host.sockets > 1 else None,
    )


def _base(asked: Asked, kv_type: str, micro_batch: int, threads: tuple[int, int]) -> LlamaArguments:
    own, batch = threads
    return replace(
        base_arguments(asked, kv_type, micro_batch),
        threads=own,
        batch_threads=None if batch == own else batch,
    )


def _threads(asked: Asked) -> tuple[int, int]:
    """Return threads for answers and for prompts: a socket's cores, or those of all if faster."""
    host = asked.host
    counts = sorted({host.cores_per_socket, int(cores_in_use(host, None))})
    if len(counts) == 1:
        return counts[0], counts[0]
    base = base_arguments(asked, asked.kv_types[0], DEFAULT_MICRO_BATCH_TOKENS)
    layout = layout_of(_whole_split(asked), asked.model.moe_layers)
    arguments = arguments_of(asked, base, layout)
    timings = {
        count: asked.option(replace(arguments, threads=count), placement_in(asked, layout)).timing
        for count in counts
    }
    return (
        min(counts, key=lambda count: timings[count].tpot_s),
        min(counts, key=lambda count: timings[count].ttft_s),
    )


def _whole_split(asked: Asked) -> tuple[int, ...]:
    """Return homes with all layers on GPUs, shared out by the GPUs' memory."""
    return homes_of(asked, proportional(asked, asked.model.num_layers + 1))


def _of_base(asked: Asked, base: LlamaArguments) -> Iterator[Option]:
    """Yield the options of one micro-batch and type of keys and values."""
    if not asked.host.gpus:
        on_host = layout_of((HOST,) * (asked.model.num_layers + 1), asked.model.moe_layers)
        yield asked.option(base, placement_in(asked, on_host))
        return
    for split in _splits(asked):
        layouts = fillings(asked, base, homes_of(asked, split))
        for layout in layouts or _fewer_layers(asked, base, split):
            yield from _sides(asked, base, layout)


def _splits(asked: Asked) -> list[tuple[int, ...]]:
    """Return splits of all layers: each GPU alone, and all by their memory."""
    entries = asked.model.num_layers + 1
    num_gpus = len(asked.host.gpus)
    # A split over GPUs costs hand-overs, so a model that fits one may be faster there.
    alone = [
        tuple(entries if gpu == other else 0 for other in range(num_gpus))
        for gpu in range(num_gpus)
    ]
    return alone if num_gpus == 1 else [*alone, proportional(asked, entries)]


def proportional(asked: Asked, entries: int) -> tuple[int, ...]:
    """Return that many entries shared out over the GPUs by their memory."""
    return _scaled([gpu.memory_bytes for gpu in asked.host.gpus], entries)


def _fewer_layers(asked: Asked, base: LlamaArguments, split: Sequence[int]) -> list[Layout]:
    """Return the layout with most layers on GPUs, if any, where not all dense parts fit them."""
    entries = sum(split)
    low = 0
    high = entries - 1
    # More layers never need less memory, so the most that fit are found by halving.
    best = None
    while low <= high:
        middle = (low + high) // 2
        layout = filled(asked, base, homes_of(asked, _scaled(split, middle)))
        if layout is None:
            high = middle - 1
        else:
            best = layout
            low = middle + 1
    return [] if best is None else [best]


def _scaled(split: Sequence[float], entries: int) -> tuple[int, ...]:
    """Return that many entries shared out in the proportions of the split."""
    ends = [round(entries * total / sum(split)) for total in accumulate(split)]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))


def _sides(asked: Asked, base: LlamaArguments, layout: Layout) -> Iterator[Option]:
    """Yield the layout as two options: with experts of the host copied to a GPU for prompts, and
    without.
    """
    arguments = arguments_of(asked, base, layout)
    placement = placement_in(asked, layout)
    yield asked.option(arguments, placement)
    # Without experts on the host, or with a prompt too short to copy for, both sides are the same.
    if placement.weight_bytes[0] and asked.load.prompt_tokens >= MIN_TOKENS:
        yield asked.option(without_copies(arguments), placement)


def without_copies(arguments: LlamaArguments) -> LlamaArguments:
    """Return the arguments with experts of the host computed there for prompts, too."""
    if arguments.is_ik:
        return replace(arguments, offload_operations=IK_NO_EXPERT_COPIES)
    return replace(arguments, is_op_offload=False)
