"""The search over what KTransformers can express, and what people run there without a plan."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.runtimes.asked import Asked
from planner.runtimes.option import Option, timing_of
from planner.runtimes.rival import Rival, best_rival
from sim.runtimes.features import cores_in_use
from sim.runtimes.host import Vector
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.placing import placement_of

CHUNKS = (512, 1024, 2048, 4096, 8192)
WIDE_NAMES = ("16bit", "bf16", "f16", "fp16")


def kt_options(asked: Asked) -> Iterator[Option]:
    """Yield options that fit: counts of experts a layer, sizes of chunks, and where prompts are
    computed.

    Prices do not tell popular experts from others, so all masks with as many experts cost the same.
    One count for all layers stands for all such masks.
    """
    base = _base(asked)
    for chunk in asked.chunk_sizes(CHUNKS, CHUNKS[0]):
        # From no token on, or from the first: where between is found for the best alone.
        for threshold in (None, 1):
            for count in _counts(asked):
                arguments = replace(
                    base, gpu_experts=count, chunk_tokens=chunk, gpu_prefill_tokens=threshold
                )
                option = _of_count(asked, arguments)
                if asked.fits(option) and (threshold is None or _has_room_for_a_layer(option)):
                    yield option


def kt_least(asked: Asked) -> Option:
    """Return the option that takes least of the GPU: all experts on the CPU."""
    return asked.option(replace(_base(asked), chunk_tokens=CHUNKS[0]))


def _of_count(asked: Asked, arguments: KtArguments) -> Option:
    """Return the option; where experts go follows from their count alone."""
    placement = asked.placements.get(
        arguments.gpu_experts, lambda: placement_of(asked.question(arguments))
    )
    return asked.option(arguments, placement)


def kt_refined(asked: Asked, best: Option) -> Option:
    """Return the option with the fewest tokens from which on a prompt is faster on the GPU.

    The best option itself is returned where prompts stay on the CPU, or where it is better.
    """
    arguments = best.arguments
    assert isinstance(arguments, KtArguments)
    # Nothing is computed on the GPU for a prompt, so there is no threshold to find.
    if arguments.gpu_prefill_tokens is None:
        return best
    low = 1
    high = min(arguments.chunk_tokens or asked.load.prompt_tokens, asked.load.prompt_tokens)
    while low < high:
        middle = (low + high) // 2
        if _prompt_seconds(asked, best, middle, 1) <= _prompt_seconds(asked, best, middle, None):
            high = middle
        else:
            low = middle + 1
    option = asked.option(replace(arguments, gpu_prefill_tokens=low), best.placement)
    return option if asked.rank(option.timing) <= asked.rank(best.timing) else best


def _prompt_seconds(asked: Asked, best: Option, tokens: int, threshold: int | None) -> float:
    arguments = replace(best.arguments, gpu_prefill_tokens=threshold)  # type: ignore[arg-type]
    question = replace(best.question, arguments=arguments, prompt_tokens=tokens)
    return timing_of(question, best.placement, asked.load).ttft_s


def _has_room_for_a_layer(option: Option) -> bool:
    """Whether the first GPU has room for a whole layer's experts, which prompts on it need.

    KTransformers' documentation: 9 GB for Kimi-K2, 3.6 GB for MiniMax-M2.
    """
    layers = option.question.model.layers
    largest = max(layer.num_experts * layer.expert_bytes for layer in layers)
    gpu = option.question.host.gpus[0] if option.question.host.gpus else None
    return gpu is not None and option.memory["gpu0"].total + largest <= gpu.memory_bytes


def kt_rivals(asked: Asked) -> Iterator[Rival]:
    """Yield each of KTransformers' strategies at its best count, and all experts on the CPU."""
    base = _base(asked)
    options = (_of_count(asked, replace(base, gpu_experts=count)) for count in _counts(asked))
    found = [option for option in options if asked.fits(option)]
    for strategy in ("uniform", "frequency", "front-loading"):
        name = f"{strategy}, best count"
        # Prices know no popular experts: what is best for one strategy is best for all.
        best = best_rival(asked, name, found)
        yield best if best.option is None else replace(best, option=_under(best.option, strategy))
    none = asked.option(base)
    yield best_rival(asked, "all experts on the CPU", [none] if asked.fits(none) else [])


def _under(option: Option, strategy: str) -> Option:
    """Return the option under that strategy, which changes no price."""
    assert isinstance(option.arguments, KtArguments)
    arguments = replace(option.arguments, strategy=strategy)
    return replace(option, question=replace(option.question, arguments=arguments))


def _base(asked: Asked) -> KtArguments:
    host = asked.host
    return KtArguments(
        method=kt_method(asked.quantization, host.vector),
        threads=int(cores_in_use(host, None)),
        thread_pools=host.sockets,
        context_tokens=asked.load.cache_tokens,
    )


def kt_method(quantization: str, vector: Vector) -> str:
    """Return the format of CPU weights that a quantisation needs (kt-kernel's README, 0.7.2)."""
    name = quantization.lower()
    if name in WIDE_NAMES:
        return "bf16"
    if name.startswith("fp8"):
        return "fp8"
    if name.startswith("mxfp4"):
        return "mxfp4"
    if name.startswith(("int8", "w8a8")) and vector is Vector.AMX:
        return "amxint8"
    if name.startswith(("int4", "awq", "gptq", "w4a16")):
        return "amxint4" if vector is Vector.AMX else "rawint4"
    return "llamafile"


def _counts(asked: Asked) -> Sequence[int]:
    """Return the counts of experts a layer that are tried, ascending."""
    if not asked.host.gpus:
        return [0]
    most = asked.model.num_experts
    # At most 65 counts are tried, each of them priced for every size of a chunk.
    step = max(1, most // 64)
    return [*range(0, most, step), most]
