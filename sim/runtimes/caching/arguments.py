"""The arguments of programs that cache experts on a GPU: FreeToken and three forks of llama.cpp.

Read from FreeToken's ``ft serve`` (0.1.2), moe-speed-of-light's patch on llama.cpp 4da6337, llama.cpp
b11549 (``--moe-cache-mib``) and thecodacus/llama.cpp pull request 5 (``--moe-cache-slots``).
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hwprofiles import InputError, unknown_name
from hwprofiles.units import MIB
from sim.model.model import Model
from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.flags import decimal
from sim.runtimes.llama_cpp.arguments import ALL_LAYERS, LlamaArguments, read_llama_arguments
from sim.runtimes.llama_cpp.overrides import CpuExperts

FREETOKEN = "freetoken"
EXPERT_CACHE = "llama.cpp-expert-cache"
POOLED_CACHE = "llama.cpp-moe-cache"
STATIC_CACHE = "llama.cpp-static-expert-cache"

FREETOKEN_MISSES = {"offload": MissRule.FETCH, "hybrid": MissRule.SHARED, "cpu": MissRule.CPU}
CACHE_POLICIES = {"dfa": "decayed", "lru": "lru", "static": "static", "none": "static"}
"""Policies by the names of moe-speed-of-light; dfa is decayed frequency with admission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachingArguments:
    """A cache, and all other arguments as those of llama.cpp."""

    cached: CachedExperts
    others: LlamaArguments


def read_caching_arguments(runtime: str, line: str, model: Model) -> CachingArguments:
    """Read a line of arguments of one of those programs for a model.

    Raises InputError for an unknown program, and for arguments that are missing or malformed.
    """
    if runtime not in CACHING_READERS:
        raise unknown_name("runtime", runtime, CACHING_READERS)
    return CACHING_READERS[runtime](_Words.of(runtime, line), model)


@dataclass(slots=True)
class _Words:
    """The words of a line. Each reader takes its own of them."""

    runtime: str
    words: list[str]

    @classmethod
    def of(cls, runtime: str, line: str) -> "_Words":
        """Split as a shell splits it. Raises InputError for a quote that is not closed."""
        try:
            return cls(runtime, shlex.split(line))
        except ValueError as error:
            raise InputError(f"{runtime} arguments {line!r}: {str(error).lower()}") from None

    def variable(self, name: str) -> str | None:
        """Take a word ``NAME=value`` and return its value; None where there is none."""
        found = next((word for word in self.words if word.startswith(f"{name}=")), None)
        if found is None:
            return None
        self.words.remove(found)
        return found.partition("=")[2]

    def option(self, *names: str) -> str | None:
        """Take an option and return its value; None where it is not there.

        Raises InputError where no value follows.
        """
        for name in names:
            if name in self.words:
                place = self.words.index(name)
                if place + 1 >= len(self.words):
                    raise InputError(f"{self.runtime} argument {name}: a value must follow")
                self.words.pop(place)
                return self.words.pop(place)
        return None

    def drop(self, *names: str) -> None:
        """Take switches that change no prediction."""
        self.words = [word for word in self.words if word not in names]

    def number(self, *names: str) -> float | None:
        """Take an option whose value is a number of at least 0; None where it is not there.

        Raises InputError for any other value.
        """
        text = self.option(*names)
        if text is None:
            return None
        try:
            number = decimal(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise InputError(
                f"{self.runtime} argument {names[0]} {text}: a number of at least 0 is needed"
            )
        return number

    def others(self) -> LlamaArguments:
        """Return the words that are left as llama.cpp's arguments.

        Every layer is then on the GPU, and every expert in host memory.
        """
        # What a fork adds is taken off the line first; all else means what it means in llama.cpp.
        read = read_llama_arguments(shlex.join(self.words))
        return replace(
            read,
            gpu_layers=ALL_LAYERS,
            placements=(CpuExperts(num_layers=None),),
            # Repacked weights lie in buffers that no GPU can copy from.
            is_repacked=False,
        )


def _freetoken(words: _Words, model: Model) -> CachingArguments:
    backend = words.option("--moe-backend", "--moe-strategy") or "offload"
    if backend not in FREETOKEN_MISSES:
        raise unknown_name("FreeToken backend", backend, FREETOKEN_MISSES)
    rate = words.number("--moe-cache-rate")
    slots = words.number("--moe-cache-size")
    ranks = words.number("--tp-size", "--tensor-parallel-size")
    threads = words.number("--moe-cpu-threads")
    words.option("--kv-reserve-tokens")
    words.drop("--moe-cache-auto", "--moe-prefill-hit-d2d")
    num_experts = model.num_experts * len(model.moe_layers)
    share = slots / num_experts if rate is None and slots is not None else rate
    cached = CachedExperts(
        policy="lru",
        share=min(1.0, share or 0.0),
        misses=FREETOKEN_MISSES[backend],
        num_ranks=max(1, int(ranks or 1)),
    )
    others = words.others()
    if threads:
        others = replace(others, threads=int(threads))
    return CachingArguments(cached=cached, others=others)


def _expert_cache(words: _Words, model: Model) -> CachingArguments:
    policy = words.variable("LLAMA_EC_POLICY") or "dfa"
    if policy not in CACHE_POLICIES:
        raise unknown_name("LLAMA_EC_POLICY", policy, CACHE_POLICIES)
    slots = words.variable("LLAMA_EC_SLOTS")
    fetch = words.variable("LLAMA_EC_FETCH")
    table = None if fetch in (None, "unstated") else _table(fetch or "")
    # A table of zeros alone copies nothing: every miss is the CPU's.
    is_split = fetch is not None and (table is None or any(table))
    is_empty = policy == "none"
    share = 0.0 if is_empty else _count(slots or "0", "LLAMA_EC_SLOTS") / model.num_experts
    cached = CachedExperts(
        policy=CACHE_POLICIES[policy],
        share=min(1.0, share),
        misses=MissRule.SPLIT if is_split else MissRule.CPU,
        fetch_table=table if is_split else None,
    )
    return CachingArguments(cached=cached, others=words.others())


def _pooled_cache(words: _Words, model: Model) -> CachingArguments:
    mebibytes = words.number("--moe-cache", "--moe-cache-mib")
    words.drop("--cpu-moe", "-cmoe")
    held = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    share = 0.0 if mebibytes is None or not held else mebibytes * MIB / held
    cached = CachedExperts(policy="lru", share=min(1.0, share), misses=MissRule.CPU)
    return CachingArguments(cached=cached, others=words.others())


def _static_cache(words: _Words, model: Model) -> CachingArguments:
    slots = words.number("--moe-cache-slots")
    words.option("--n-cpu-moe", "-ncmoe")
    share = (slots or 0.0) / model.num_experts
    cached = CachedExperts(policy="static", share=min(1.0, share), misses=MissRule.CPU)
    return CachingArguments(cached=cached, others=words.others())


def _table(text: str) -> tuple[int, ...]:
    return tuple(_count(part, "LLAMA_EC_FETCH") for part in text.split(","))


def _count(text: str, name: str) -> int:
    if not text.strip().isdecimal():
        raise InputError(f"{name}={text}: whole numbers of at least 0 are needed")
    return int(text)


CACHING_READERS: Mapping[str, Callable[[_Words, Model], CachingArguments]] = {
    FREETOKEN: _freetoken,
    EXPERT_CACHE: _expert_cache,
    POOLED_CACHE: _pooled_cache,
    STATIC_CACHE: _static_cache,
}
"""The function that reads each program's arguments, by the program's name in measured rows."""
