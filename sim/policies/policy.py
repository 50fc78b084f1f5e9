"""A policy: five parts and the way it feeds the model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from hwprofiles import InputError, closest
from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score
from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.base import Dispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.base import Placement
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.none import NoPrefetch
from sim.policies.problem import Problem
from sim.workload.batch import Feeding


class Tuning(ABC):
    """The way in which a system chooses its unset parameters, once it knows machine, model and
    batch.
    """

    @abstractmethod
    def tune(self, policy: "Policy", problem: Problem) -> "Policy":
        """Return the policy with every parameter set, and no tuning. A run calls it before anything
        else.

        ``problem`` has the feeding as it is before tuning.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A system as a row of the table: its name, its parts, and the source of its rules.

    Unless the row says otherwise, no resident leaves the GPU, nothing is fetched ahead, and lanes
    overlap. ``is_lossless``: the tokens are those of a plain forward pass. It is always false with
    deferred or foretold experts.
    """

    name: str
    summary: str
    source: str
    placement: Placement
    cache: Cache = field(default_factory=StaticCache)
    prefetch: Prefetch = field(default_factory=NoPrefetch)
    dispatch: Dispatch
    overlap: Overlap = field(default_factory=Overlap)
    feeding: Feeding = field(default_factory=Feeding)
    is_lossless: bool = True
    tuning: Tuning | None = None

    def __post_init__(self) -> None:
        if self.overlap.deferred or self.dispatch.foretells:
            # Whatever was said: a setting may have made it lossy.
            object.__setattr__(self, "is_lossless", False)

    @property
    def keeps_residency(self) -> bool:
        """Whether the GPU holds, throughout the run, what the placement put there."""
        return self.cache.is_static and not self.placement.is_remade

    @property
    def needs_host_copies(self) -> bool:
        """Whether host memory has to hold experts that the GPU holds too: an expert may leave the
        GPU without being copied back.
        """
        # A prefetched expert takes a place without anything being copied back.
        return not self.keeps_residency and (not self.cache.writes_back or self.prefetch.is_active)

    @property
    def knows_one_gpu(self) -> bool:
        """Whether the policy runs on one GPU only. It does if it moves experts without a score,
        carries them into the next layer, pipelines layers, or has a tuning.
        """
        # Code of a policy's own that moves experts knows nothing of a second GPU.
        moves = self.placement.is_remade or (not self.cache.is_static and self.cache.score is None)
        return (
            moves
            or bool(self.overlap.deferred)
            or self.dispatch.foretells
            or self.feeding.is_pipelined
            or self.tuning is not None
        )

    @property
    def knows_future(self) -> bool:
        """Whether the policy decides by the future. Such a policy is no system: it says what a
        system could reach at best.
        """
        return self.cache.score is Score.NEXT_USE


PART_FIELDS = ("placement", "cache", "prefetch", "dispatch", "overlap", "feeding")


def with_settings(policy: Policy, settings: Mapping[str, str]) -> Policy:
    """The policy with parameters of its parts set: ``believed_cost=code``, or
    ``overlap.decode=serial`` where two parts share a name.

    Raises InputError for a parameter that no part has, or a value of the wrong type.
    """
    for key, text in settings.items():
        kind, name = _locate(policy, key)
        part = getattr(policy, kind)
        value = _parsed(text, get_type_hints(type(part))[name], f"`settings` {key}={text}")
        policy = replace(policy, **{kind: replace(part, **{name: value})})
    return policy


def settings_of(policy: Policy) -> dict[str, dict[str, Any]]:
    """Return the value of every parameter of every part, by kind of part, then by name."""
    return {kind: _values(getattr(policy, kind)) for kind in PART_FIELDS}


def parameter_names(policy: Policy) -> list[str]:
    """Return the names of the parameters that ``with_settings`` takes, as ``kind.name``."""
    settings = settings_of(policy)
    return [
        f"{kind}.{name}"
        for kind, values in settings.items()
        for name, value in values.items()
        if not isinstance(value, dict)
    ]


def _values(part: Any) -> dict[str, Any]:
    values = {}
    for item in fields(part):
        value = getattr(part, item.name)
        values[item.name] = _values(value) if is_dataclass(value) else value
    return values


def _locate(policy: Policy, key: str) -> tuple[str, str]:
    names = parameter_names(policy)
    found = [name for name in names if key in (name, name.partition(".")[2])]
    if len(found) == 1:
        kind, _, name = found[0].partition(".")
        return kind, name
    if found:
        raise InputError(
            f"`settings` {key}: several parts have it; write one of {', '.join(found)}"
        )
    raise InputError(
        f"`settings` {key}: policy {policy.name} has no such parameter{closest(key, names)}"
    )


def _parsed(text: str, hint: Any, where: str) -> Any:
    # The command line has no other way to say that nothing is set.
    value = None if text.lower() == "none" else text
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise InputError(f"{where}: {error.errors()[0]['msg'].lower()}") from None
