"""How often a cache of experts misses: published replays, and a law between their points.

The optimum's misses fall with the cached share c as exp(-strength * c ** DECAY). Published points
of gpt-oss-120b and Qwen3-30B lie within 13 % of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from hwprofiles import Kind, read_yaml, unknown_name
from sim.runtimes.caching.measured_routing import measured_routing

DECAY = 0.66
"""The slope of log(-log(misses)) over log(share): 0.63 to 0.76 between neighbouring published points."""

KNOWN_SPREAD = 0.2
"""The spread of misses, in the logarithm, of a model with published replays: prompts differ."""

MEASURED_SPREAD = 0.25
"""The spread of misses, in the logarithm, of a model whose routing was measured, but no cache.

It compares streams of the measured locality with published replays of a quarter cached, for three
models (qwen3-30b-a3b, deepseek-v2-lite, mixtral-8x7b).
"""

UNKNOWN_SPREAD = 0.45
"""The spread of misses, in the logarithm, of any other model.

Over the four published models, misses with a quarter cached have a spread of 0.7.
"""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedModel(_Part):
    """The optimum's misses of a model, as shares of all choices.

    They are at ``shares`` of each layer's experts cached.
    """

    shares: tuple[float, ...]
    optimum_misses: tuple[float, ...]
    source: str


class PublishedPolicies(_Part):
    """The misses of each policy, over those of the optimum, at ``shares`` of the experts cached.

    ``admitted_fraction`` is the share of misses that the policy copies into the cache.
    """

    source: str
    shares: tuple[float, ...]
    over_optimum: dict[str, tuple[float, ...]]
    admitted_fraction: dict[str, float]


class LocalityFile(_Part):
    """The file of published replays."""

    kind: Kind
    date: str
    policies: PublishedPolicies
    models: dict[str, PublishedModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """How strongly a model's tokens choose the same experts again.

    ``strength`` is that of the law of misses. ``spread`` is the uncertainty of misses in the
    logarithm. ``source`` says where both come from. ``miss_factor`` multiplies the misses.
    """

    strength: float
    spread: float
    source: str
    miss_factor: float = 1.0

    def misses(self, policy: str, share: float) -> float:
        """Return the share of choices that miss with ``share`` of each layer's experts cached.

        It never exceeds that of a cache of experts chosen at random. Raises InputError for an
        unknown policy.
        """
        table = shipped_locality().policies
        if policy not in table.over_optimum:
            raise unknown_name("cache policy", policy, table.over_optimum)
        if share >= 1:
            return 0.0
        optimum = float(np.exp(-self.strength * share**DECAY))
        # Without a cache every policy misses as the optimum does: all.
        ratio = float(np.interp(share, (0.0, *table.shares), (1.0, *table.over_optimum[policy])))
        # The law is fitted to few points; a cache is never worse than one of experts chosen at
        # random.
        return min(1.0 - share, ratio * optimum * self.miss_factor)


def locality_of(model: str) -> Locality:
    """Return the locality of a model by its name.

    It comes from published replays of the model, else from a stream with its measured routing, else
    from the mean of all published replays.
    """
    models = shipped_locality().models
    if model in models:
        known = models[model]
        strength = _strength(known.shares, known.optimum_misses)
        return Locality(strength=strength, spread=KNOWN_SPREAD, source=known.source)
    routing = measured_routing()
    if model in routing.models:
        return Locality(
            strength=_strength(routing.cached, routing.models[model].optimum_misses),
            spread=MEASURED_SPREAD,
            source=f"a stream with measured routing, {routing.source}",
        )
    strengths = [_strength(other.shares, other.optimum_misses) for other in models.values()]
    return Locality(
        # In the logarithm, as their spread is stated so.
        strength=float(np.exp(np.mean(np.log(strengths)))),
        spread=UNKNOWN_SPREAD,
        source=f"not published for {model}: the mean of {', '.join(models)}",
    )


def admitted_fraction(policy: str) -> float:
    """Return the share of the misses on the CPU that the policy copies into the cache too."""
    return shipped_locality().policies.admitted_fraction[policy]


@cache
def shipped_locality() -> LocalityFile:
    """The file that ships with Rosin."""
    path = Path(str(resources.files("sim") / "runtimes" / "caching" / "locality.yaml"))
    return LocalityFile.model_validate(read_yaml(path, "locality"))


def _strength(shares: Sequence[float], misses: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(-np.log(misses) / np.array(shares) ** DECAY))))
