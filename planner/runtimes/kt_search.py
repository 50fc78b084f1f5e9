"""The search over what KTransformers can express, and what people run there without a plan."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.runtimes.asked import Asked
from planner.runtimes.option import Option
from planner.runtimes.rival import Rival, best_rival
from sim.runtimes.features import cores_in_use
from sim.runtimes.host import Vector
from sim.runtimes.ktransformers.arguments import KtArguments

CHUNKS = (512, 1024, 2048, 4096, 8192)
WIDE_NAMES = ("16bit", "bf16", "f16", "fp16")


def kt_options(asked: Asked) -> Iterator[Option]:
    """Yield options that fit: every count of experts a layer, sizes of chunks, the prompt's side.

    Prices know no popular experts, so masks with as many experts cost alike: the same count in
    each layer stands for them.
    """
    base = _base(asked)
    for chunk in _chunks(asked):
        for side in (None, 1):
            for count in _counts(asked):
                option = asked.option(
                    replace(base, gpu_experts=count, chunk_tokens=chunk, gpu_prefill_tokens=side)
                )
                if asked.fits(option):
                    yield option


def kt_rivals(asked: Asked) -> Iterator[Rival]:
    """Yield KTransformers' own ways at their best number of experts, and all experts on the CPU."""
    base = _base(asked)
    for strategy in ("uniform", "frequency", "front-loading"):
        found = [
            option
            for count in _counts(asked)
            if asked.fits(
                option := asked.option(replace(base, gpu_experts=count, strategy=strategy))
            )
        ]
        yield best_rival(asked, f"{strategy}, best count", found)
    none = asked.option(base)
    yield best_rival(asked, "all experts on the CPU", [none] if asked.fits(none) else [])


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


def _chunks(asked: Asked) -> Sequence[int]:
    limit = max(asked.load.prompt_tokens, CHUNKS[0])
    first_over = next((size for size in CHUNKS if size >= limit), CHUNKS[-1])
    return [size for size in CHUNKS if size <= first_over]


def _counts(asked: Asked) -> Sequence[int]:
    """Return counts of experts a layer that may be tried."""
    if not asked.host.gpus:
        return [0]
    most = asked.model.num_experts
    step = max(1, most // 64)
    return [*range(0, most, step), most]
