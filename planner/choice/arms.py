"""The ways to run experts that do not fit: whole layers on GPUs, or a cache of experts."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hwprofiles.units import GIB, MIB, format_bytes
from planner.choice.question import FREETOKEN, ChoiceQuestion
from planner.export.llama_cpp import llama_words
from planner.export.runtime_command import quoted
from planner.runtimes.asked import Asked
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.search import NoRuntimePlan, plan_runtime
from sim.costs.host_room import RESERVED_BYTES
from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP, LlamaArguments
from sim.runtimes.memory import memory_of
from sim.runtimes.placing import placement_of
from sim.runtimes.tensors import tensors_of

MARGIN_BYTES = GIB
"""Bytes of each GPU that are left free, as llama.cpp's --fit-target leaves them."""

STATIC_LAYERS = "static layers"

WHOLE_FRACTION = 0.999
"""The share of a layer's experts on GPUs above which the layer counts as whole.

The share is below 1, because bytes of matrices are rounded.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to run the experts: whole layers of them on GPUs (``cached`` None), or a cache.

    ``expert_layers`` is the number of these layers. ``command`` starts ``program`` in this way.
    ``arguments`` are llama.cpp's where a search found them, as for several GPUs. ``gpus`` are the
    numbers of the GPUs in use (None: all).
    """

    arm: str
    command: str
    program: str = LLAMA_CPP
    expert_layers: int = 0
    arguments: LlamaArguments | None = None
    gpus: tuple[int, ...] | None = None
    cached: CachedExperts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A way that this machine does not allow, and why."""

    arm: str
    reason: str


def arms_of(question: ChoiceQuestion) -> tuple[tuple[Arm, ...], tuple[LeftOut, ...]]:
    """Return the ways that fit, and those that do not fit, each of these with the reason.

    Each cache takes the GPU memory that the rest of the model leaves. There is no arm where that
    rest itself does not fit.
    """
    if not question.host.gpus:
        left_out = _none_of((STATIC_LAYERS, *CACHES), "the machine has no GPU")
        alone, misfit = _fitting(question, Arm(arm="CPU alone", command="llama-server"))
        return alone, (*misfit, *left_out)
    room = _room(question, 0)
    if min(room) < 0:
        reason = f"the model without its experts needs {format_bytes(-min(room))} more GPU memory"
        return (), _none_of((STATIC_LAYERS, *CACHES), reason)
    layers = _expert_layers(question)
    static = Arm(arm=STATIC_LAYERS, command=_static_command(question, layers), expert_layers=layers)
    if layers == len(question.model.moe_layers):
        return (static,), _none_of(CACHES, "every expert fits on the GPU")
    if len(question.host.gpus) > 1:
        # Over several GPUs a number of layers is not enough: which GPU has which layers matters.
        static = planned_layers(question) or static
    found, left_out = _fitting(question, static)
    short = _expert_bytes(question) - _host_bytes(question)
    if short > 0:
        reason = f"all experts stay in host memory, which is {format_bytes(short)} too small"
        streamed = _streamed(question, sum(room)) if question.host.disk is not None else ()
        return (*found, *streamed), (*left_out, *_none_of(CACHES, reason))
    cached, missing = _cache_arms(question)
    return (*found, *cached), (*left_out, *missing)


def single_card_arms(question: ChoiceQuestion) -> Iterator[Arm]:
    """Yield each cache on each of several GPUs alone.

    A slower card beside a faster one may cost more than its memory gains.
    """
    for index in range(len(question.host.gpus)):
        arms, _ = arms_of(question.on((index,)))
        for arm in arms:
            if arm.cached is not None:
                command = f"CUDA_VISIBLE_DEVICES={index} {arm.command}"
                yield replace(arm, command=command, gpus=(index,))


def _fitting(question: ChoiceQuestion, static: Arm) -> tuple[tuple[Arm, ...], tuple[LeftOut, ...]]:
    """Return the arm of whole layers, or why it does not fit.

    The arm does not fit if host memory is too small for what stays there, and the machine states no
    disk.
    """
    asked = question.runtime_question(static.expert_layers, static.arguments)
    short = memory_of(asked, placement_of(asked))["host"].total - _host_bytes(question)
    if short <= 0 or question.host.disk is not None:
        return (static,), ()
    reason = (
        f"host memory is {format_bytes(short)} too small, and the machine states no disk to read the "
        "rest from"
    )
    return (), _none_of((static.arm,), reason)


def planned_layers(question: ChoiceQuestion) -> Arm | None:
    """Return the best whole layers for all GPUs together, as a plan for llama.cpp finds them.

    None where no plan fits.
    """
    asked = Asked(
        runtime=LLAMA_CPP,
        model=question.model,
        quantization=question.quantization,
        host=replace(question.host, memory_bytes=question.host_memory_bytes),
        load=RuntimeLoad(
            prompt_tokens=question.prompt_tokens, output_tokens=question.output_tokens
        ),
        limits=RuntimeLimits(),
        tensors=tensors_of(question.model),
    )
    plan = plan_runtime(asked)
    if isinstance(plan, NoRuntimePlan):
        return None
    arguments = plan.best.arguments
    assert isinstance(arguments, LlamaArguments)
    on_gpus = 1.0 - plan.best.placement.expert_fraction[list(question.model.moe_layers), 0]
    return Arm(
        arm=STATIC_LAYERS,
        command=" ".join(("llama-server", *map(quoted, llama_words(arguments)))),
        expert_layers=int(np.count_nonzero(on_gpus > WHOLE_FRACTION)),
        arguments=arguments,
    )


def _none_of(names: Iterable[str], reason: str) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(arm=name, reason=reason) for name in names)


def _room(question: ChoiceQuestion, layers: int) -> list[float]:
    """Return the bytes left on each GPU [gpu] with the experts of that many layers on GPUs.

    MARGIN_BYTES of each GPU are not counted.
    """
    asked = question.runtime_question(layers)
    memory = memory_of(asked, placement_of(asked))
    return [
        gpu.memory_bytes - MARGIN_BYTES - memory[f"gpu{index}"].total
        for index, gpu in enumerate(question.host.gpus)
    ]


def _expert_layers(question: ChoiceQuestion) -> int:
    """Return the most layers whose experts fit the GPUs."""
    # Memory only grows with the number of layers, so the most that fit are found by halving.
    fits = 0
    too_many = len(question.model.moe_layers) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if min(_room(question, middle)) >= 0:
            fits = middle
        else:
            too_many = middle
    return fits


def _host_bytes(question: ChoiceQuestion) -> float:
    """Return the bytes of host memory; infinite where nobody states them."""
    return math.inf if question.host_memory_bytes is None else question.host_memory_bytes


def _expert_bytes(question: ChoiceQuestion) -> float:
    return float(sum(layer.num_experts * layer.expert_bytes for layer in question.model.layers))


def _static_command(question: ChoiceQuestion, layers: int) -> str:
    moe = question.model.moe_layers
    if not layers:
        return "llama-server -ngl 99 -cmoe"
    if layers == len(moe):
        return "llama-server -ngl 99"
    # -ncmoe counts layers from the first, those without experts included.
    return f"llama-server -ngl 99 -ncmoe {moe[len(moe) - layers]}"


def _cache_arms(question: ChoiceQuestion) -> tuple[list[Arm], list[LeftOut]]:
    """Return an arm for each cache, or the reason why its program cannot run.

    A cache takes the GPU memory that the rest of its program's model file leaves.
    """
    arms = []
    left_out = []
    for name, (policy, misses) in CACHES.items():
        program = OTHER_PROGRAMS.get(name, LLAMA_CPP)
        reason = _hindrance(question, program)
        if reason is not None:
            left_out.append(LeftOut(arm=name, reason=reason))
            continue
        own = question.run_by(program)
        room = sum(_room(own, 0))
        share = min(1.0, room / _expert_bytes(own))
        arms.append(
            Arm(
                arm=name,
                command=_cache_command(name, own, room, share),
                program=program,
                cached=CachedExperts(policy=policy, share=share, misses=misses),
            )
        )
    return arms, left_out


def _hindrance(question: ChoiceQuestion, program: str) -> str | None:
    """Return the reason why a program cannot run the model on this machine, None where it can."""
    if program != FREETOKEN:
        return None
    if question.checkpoint is None:
        return f"{program} loads checkpoints, and none in {question.quantization}"
    own = question.run_by(program)
    missing = -min(_room(own, 0))
    if missing > 0:
        return f"the model without its experts needs {format_bytes(missing)} more GPU memory"
    short = _expert_bytes(own) - _host_bytes(own)
    if short > 0:
        return f"all experts stay in host memory, which is {format_bytes(short)} too small"
    return None


def _cache_command(name: str, question: ChoiceQuestion, room: float, share: float) -> str:
    """Return the command that gives a cache ``room`` bytes, or ``share`` of the experts."""
    slots = int(share * question.model.num_experts)
    commands = {
        "expert cache": f"llama-server -ngl 99 -cmoe --moe-cache-mib {int(room / MIB)}",
        "fetch": f"ft serve --moe-backend offload --moe-cache-rate {share:.3f}",
        "hybrid": f"ft serve --moe-backend hybrid --moe-cache-rate {share:.3f}",
        "expert cache, misses split": f"LLAMA_EC_POLICY=dfa LLAMA_EC_SLOTS={slots} llama-server -ngl 99 "
        '-ot "exps=CUDA_Host"',
    }
    return commands[name]


def _streamed(question: ChoiceQuestion, room: float) -> tuple[Arm, ...]:
    """Return the arm that streams experts from the disk into a cache of ``room`` bytes on the GPU.

    Host memory keeps the experts that were read last.
    """
    experts = _expert_bytes(question)
    asked = question.runtime_question(0)
    dense = memory_of(asked, placement_of(asked))["host"].total - experts
    spare = max(0.0, _host_bytes(question) - RESERVED_BYTES - max(0.0, dense))
    cached = CachedExperts(
        policy="lru",
        share=min(1.0, room / experts),
        misses=MissRule.STREAM,
        memory_share=min(1.0, spare / experts),
    )
    command = "an engine that streams, such as flash-moe"
    return (Arm(arm=STREAM, command=command, program="an engine that streams", cached=cached),)


STREAM = "stream from disk"

CACHES = {
    "expert cache": ("lru", MissRule.CPU),
    "fetch": ("lru", MissRule.FETCH),
    "hybrid": ("lru", MissRule.SHARED),
    "expert cache, misses split": ("decayed", MissRule.SPLIT),
}
"""The policy of each cache, and what happens on a miss."""

OTHER_PROGRAMS = {
    "fetch": FREETOKEN,
    "hybrid": FREETOKEN,
    "expert cache, misses split": "moe-speed-of-light's patch of llama.cpp",
}
"""The program of each cache that is not llama.cpp's own."""
