"""The best plan for a runtime: its options, its rivals, and what a user runs today."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hwprofiles import InputError, unknown_name
from hwprofiles.units import format_bytes
from planner.runtimes.asked import Asked
from planner.runtimes.copying_search import (
    accelerate_least,
    accelerate_options,
    accelerate_rivals,
    vllm_least,
    vllm_options,
    vllm_rivals,
)
from planner.runtimes.exl3_search import exl3_least, exl3_options, exl3_rivals
from planner.runtimes.kt_search import kt_least, kt_options, kt_refined, kt_rivals
from planner.runtimes.llama_refine import refined
from planner.runtimes.llama_rivals import llama_rivals
from planner.runtimes.llama_search import llama_least, llama_options
from planner.runtimes.option import Option
from planner.runtimes.rival import Rival
from sim.runtimes.accelerate.arguments import ACCELERATE
from sim.runtimes.exllamav3.arguments import EXLLAMAV3
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.placing import placement_of
from sim.runtimes.predict import RuntimePrediction, predict
from sim.runtimes.vllm.arguments import VLLM

SAME_FRACTION = 1e-9
"""Prices that differ by less are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The functions that search one runtime.

    ``options`` yields options that fit, ``refine`` tunes the best of them, and ``rivals`` yields
    the usual ways. ``least`` returns the option that takes least of the GPUs.
    """

    options: Callable[[Asked], Iterator[Option]]
    least: Callable[[Asked], Option]
    rivals: Callable[[Asked], Iterator[Rival]]
    refine: Callable[[Asked, Option], Option] = lambda asked, option: option


_LLAMA = Way(options=llama_options, least=llama_least, rivals=llama_rivals, refine=refined)

WAYS: Mapping[str, Way] = {
    LLAMA_CPP: _LLAMA,
    IK_LLAMA_CPP: _LLAMA,
    KTRANSFORMERS: Way(options=kt_options, least=kt_least, rivals=kt_rivals, refine=kt_refined),
    VLLM: Way(options=vllm_options, least=vllm_least, rivals=vllm_rivals),
    ACCELERATE: Way(options=accelerate_options, least=accelerate_least, rivals=accelerate_rivals),
    EXLLAMAV3: Way(options=exl3_options, least=exl3_least, rivals=exl3_rivals),
}
"""The runtimes that a plan can be made for, by name."""

NEED_A_GPU = (VLLM, ACCELERATE, EXLLAMAV3)
MAP_FILES = (LLAMA_CPP, IK_LLAMA_CPP)
"""Runtimes that can run a model larger than host memory: what does not stay is read again."""


@dataclass(frozen=True, kw_only=True)
class RuntimePlan:
    """The best option, what it is predicted to do, and what it was compared with.

    ``against`` is what the user runs today, where stated. ``against_missing_bytes`` are the bytes
    that each device lacks for it.
    """

    asked: Asked
    best: Option
    prediction: RuntimePrediction
    rivals: tuple[Rival, ...]
    num_tried: int
    against: Option | None = None
    against_missing_bytes: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRuntimePlan:
    """The reason why there is no plan.

    Nothing fits, or the first token is late with all that fits.
    """

    runtime: str
    reason: str


def plan_runtime(asked: Asked, against: str | None = None) -> RuntimePlan | NoRuntimePlan:
    """Search for the best plan that the runtime can express; no rival that is offered is faster.

    Raises InputError for an unknown runtime, and for a model without experts where the runtime
    places experts alone. Arguments of ``against`` that are wrong raise it, too.
    """
    if asked.runtime not in WAYS:
        raise unknown_name("runtime", asked.runtime, WAYS)
    if asked.runtime == KTRANSFORMERS and asked.model.is_dense:
        raise InputError(
            f"{asked.model.name} has no experts, which {asked.runtime} places; {LLAMA_CPP} places layers"
        )
    way = WAYS[asked.runtime]
    users = None if against is None else _of_user(asked, against)
    found = list(way.options(asked))
    rivals = tuple(way.rivals(asked))
    known = [rival.option for rival in rivals if rival.option is not None and rival.is_offered]
    # What does not fit is shown beside the plan, but it is no rival.
    if users is not None and asked.fits(users):
        known.append(users)
    if not found and not known:
        return NoRuntimePlan(runtime=asked.runtime, reason=_too_large(asked))
    # Rivals are candidates, too, so that a plan is never slower than one of them.
    best = min(known, key=lambda option: asked.rank(option.timing), default=None)
    if found:
        # Only the best is refined, because refining prices many neighbours.
        own = way.refine(asked, min(found, key=lambda option: asked.rank(option.timing)))
        best = own if best is None or not _is_better(asked, best, own) else best
    assert best is not None
    if asked.rank(best.timing)[0] > 0:
        return NoRuntimePlan(runtime=asked.runtime, reason=_late(asked, best))
    best = _evaluated(asked, best)
    return RuntimePlan(
        asked=asked,
        best=best,
        prediction=predict(best.question),
        rivals=rivals,
        num_tried=len(found) + len(known),
        against=users,
        against_missing_bytes=None
        if users is None
        else asked.missing_bytes(users.memory, users.arguments),
    )


def stated_plan(asked: Asked, line: str) -> RuntimePlan:
    """Return the plan that given arguments make, with the rivals that it is compared with.

    Raises InputError for arguments that are wrong, or that do not fit the machine.
    """
    best = _of_user(asked, line)
    missing = asked.missing_bytes(best.memory, best.arguments)
    if missing:
        raise InputError(
            f"the plan does not fit this machine: {asked.runtime} needs {_short(missing)}"
        )
    return RuntimePlan(
        asked=asked,
        best=best,
        prediction=predict(best.question),
        rivals=tuple(WAYS[asked.runtime].rivals(asked)),
        num_tried=1,
    )


def _is_better(asked: Asked, rival: Option, own: Option) -> bool:
    """Return whether a rival is better by more than the rounding of sums in another order."""
    late, score = asked.rank(rival.timing)
    own_late, own_score = asked.rank(own.timing)
    if late != own_late:
        return late < own_late
    return score < own_score * (1 - SAME_FRACTION)


def _evaluated(asked: Asked, best: Option) -> Option:
    """Return the option placed anew from its arguments alone, as the runtime will read them.

    The search places matrices directly; a mistake of the search would show here.
    """
    placed = placement_of(best.question)
    assert abs(placed.weight_bytes - best.placement.weight_bytes).max() < 1
    return asked.option(best.arguments, placed)


def _of_user(asked: Asked, line: str) -> Option:
    """Return the option of the arguments that a user runs."""
    return asked.option(asked.read(line))


def _too_large(asked: Asked) -> str:
    """Say by how much the model is too large: for all memory together, or for a device."""
    if asked.runtime in NEED_A_GPU and not asked.host.gpus:
        return f"{asked.runtime} needs a GPU, and the machine has none"
    room = asked.room_bytes()
    # Without a stated host memory nobody can say how much is missing.
    if "host" not in room:
        return f"no arguments of {asked.runtime} fit the machine"
    total = sum(room.values())
    missing = asked.model.total_bytes - total
    maps = asked.runtime in MAP_FILES
    if missing > 0 and not (maps and asked.host.disk is not None):
        hint = "; a machine that states a disk reads the rest from it" if maps else ""
        return (
            f"{format_bytes(asked.model.total_bytes)} of weights are {format_bytes(missing)} more "
            f"than GPUs and host have free{hint}"
        )
    return _short_of_room(asked, WAYS[asked.runtime].least(asked))


def _short_of_room(asked: Asked, least: Option) -> str:
    """Say what is missing where the weights alone would fit."""
    total = sum(own.total for own in least.memory.values())
    room = sum(max(0.0, size) for size in asked.room_bytes().values())
    if total > room:
        return (
            f"weights, keys and values, and buffers take {format_bytes(round(total))}, "
            f"{format_bytes(round(total - room))} more than GPUs and host have free"
        )
    missing = asked.missing_bytes(least.memory, least.arguments)
    needs = _short(missing) or "more than some device has free"
    even = "" if "host" in missing else ", even with all that it can in host memory"
    return f"{asked.runtime} needs {needs}{even}"


def _short(missing: Mapping[str, float]) -> str:
    """Say what each device is short of."""
    return " and ".join(
        f"{format_bytes(round(size))} more than {name} has free" for name, size in missing.items()
    )


def _late(asked: Asked, best: Option) -> str:
    assert asked.max_ttft_s is not None
    return (
        f"no plan meets `max_ttft_s` {asked.max_ttft_s:g} s: the best reaches "
        f"{best.timing.ttft_s:.3g} s"
    )
