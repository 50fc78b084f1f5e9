"""The price of a decoded token where experts are cached on a GPU.

Hits are computed there; misses use the CPU and the link.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from hwprofiles.units import MICRO
from sim.model.model import Layer
from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.caching.lanes import ExpertLanes, estimated_both, fetches, with_cards
from sim.runtimes.caching.locality import Locality, admitted_fraction
from sim.runtimes.constants import Constants
from sim.runtimes.disk import expert_misses
from sim.runtimes.features import Features
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of
from sim.runtimes.prices import Seconds, decode_seconds, dram_bytes_per_s, prefill_seconds
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import decode_step, prompt_step

RANK_WAIT_S = 2 * 3e-3
"""Seconds that a layer on the CPU waits where processes share the same cores.

There are two joins of its threads, and each waits for a time slice of the scheduler. (3 ms, Linux's
sched_base_slice_ns on eight cores or more.) FreeToken's ranks pin their threads to the same cores
(its pull request 104).
"""


COPYING = (MissRule.FETCH, MissRule.STREAM)
"""Rules under which the CPU computes no experts."""

PAGE_COPY_BYTES_PER_S = 8.8e9
"""The rate of copies on a desktop from the page cache into a buffer that the GPU reads.

It is the geometric mean of three published figures (docs/explanation/expert-caches.md). An
i9-13900KF reaches 10 GB/s (flash-moe's CUDA port, its paper). A host of an RTX 5090 reaches 9.6
(kekzl/imp pull request 1409, mapped, with the link). A Ryzen 5 3400G reaches 7.1
(stable-diffusion.cpp pull request 790).
"""

SERVER_PAGE_COPY_BYTES_PER_S = 5.3e9
"""The rate of such copies on a server: the geometric mean of three figures.

One thread reaches 4.9 GB/s (rustfs pull request 4653). A loader on a host of H100s reaches 5.3
(fastsafetensors in vLLM pull request 52462). An AMD EPYC at 2.6 GHz reaches 5.7 (preadv of 6.8 MB
at a time, 2026-11-30).
"""

PAGE_COPY_SPREAD = 0.32
"""The spread of either rate, in the logarithm.

It is that of all eight figures about the geometric mean of their class. Two of them are of reads by
Python (4.0 GB/s of a laptop under Windows, 4 of a host of H20s).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRates:
    """Measured rates that replace the machine's own; None where none was measured.

    ``both_factor`` multiplies the rate of CPU and link at once, whether measured or estimated.
    ``page_factor`` multiplies that of copies from the page cache.
    """

    cpu_experts_bytes_per_s: float | None = None
    link_bytes_per_s: float | None = None
    both_bytes_per_s: float | None = None
    both_factor: float = 1.0
    page_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedStep:
    """A priced token.

    It has the seconds by part, the share of choices that miss, the share that the CPU computes, and
    the lanes.
    """

    seconds: Seconds
    miss_fraction: float
    cpu_fraction: float
    lanes: ExpertLanes

    @property
    def tokens_per_s(self) -> float:
        """The speed in tokens a second."""
        return 1.0 / float(self.seconds.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Expectations for one layer of a token.

    ``misses_s`` are the seconds of its misses, ``on_cpu`` is the share of its choices that the CPU
    computes. ``cpu_visits`` is the probability that the CPU computes any. ``link_visits`` is the
    probability that experts are only copied.
    """

    misses_s: float
    on_cpu: float
    cpu_visits: float
    link_visits: float


def cached_decode(
    question: RuntimeQuestion,
    cached: CachedExperts,
    locality: Locality,
    rates: CacheRates,
    constants: Constants,
    num_tokens: int = 1,
) -> CachedStep:
    """Price one token, or several that are checked together.

    The question's own arguments leave all experts in host memory.
    """
    placement = placement_of(question)
    lanes = lanes_of(question, placement, rates, constants)
    lanes = with_cards(lanes, cached.num_ranks)
    missing = (
        locality.misses(cached.policy, cached.share)
        if cached.hit_fraction is None
        else 1.0 - cached.hit_fraction
    )
    layers = {
        index: _expected(_chosen(question, index, num_tokens), cached, missing, lanes)
        for index in question.model.moe_layers
    }
    shares = {index: own.on_cpu for index, own in layers.items()}
    # Hits are priced as experts that lie on the GPU.
    step = decode_step(question, _placed(placement, shares), num_tokens)
    seconds = _with_misses(
        decode_seconds(step, constants), list(layers.values()), cached, step, constants
    )
    if cached.misses is MissRule.STREAM:
        seconds = _streamed(seconds, question, placement, cached, (locality, rates))
    return CachedStep(
        seconds=seconds,
        miss_fraction=missing,
        cpu_fraction=float(np.mean([own.on_cpu for own in layers.values()])) if layers else 0.0,
        lanes=lanes,
    )


def cached_prefill(
    question: RuntimeQuestion, cached: CachedExperts, constants: Constants
) -> tuple[Seconds, Features]:
    """Return the seconds of a prompt whose tokens need every expert, and its step.

    The cached share of the experts is on the GPU already.
    """
    placement = placement_of(question)
    shares = dict.fromkeys(question.model.moe_layers, 1.0 - cached.share)
    step = prompt_step(question, _placed(placement, shares))
    return prefill_seconds(step, constants), step


def lanes_of(
    question: RuntimeQuestion, placement: DevicePlacement, rates: CacheRates, constants: Constants
) -> ExpertLanes:
    """Return the lanes of a machine: its measured rates, else the rates that its prices imply."""
    step = decode_step(question, placement)
    dram = float(dram_bytes_per_s(step, constants))
    read = float(step.work.cpu_expert_bytes)
    # The CPU's rate with its products, not the memory's alone: small formats are unpacked slower.
    by_price = read / float(decode_seconds(step, constants).cpu_experts) if read else dram
    link = rates.link_bytes_per_s or min(gpu.link_bytes_per_s for gpu in question.host.gpus)
    both = rates.both_bytes_per_s or estimated_both(dram, link)
    return ExpertLanes(
        cpu_bytes_per_s=rates.cpu_experts_bytes_per_s or by_price,
        link_bytes_per_s=link,
        both_bytes_per_s=both * rates.both_factor,
    )


def _placed(placement: DevicePlacement, on_host: dict[int, float]) -> DevicePlacement:
    """Return the placement with these shares of layers' experts on the host.

    The rest of a layer's experts is on its GPU.
    """
    fractions = placement.expert_fraction.copy()
    for layer, share in on_host.items():
        fractions[layer] = 0.0
        fractions[layer, 0] = share
        fractions[layer, max(0, int(placement.attention[layer])) + 1] += 1.0 - share
    return replace(placement, expert_fraction=fractions)


def _chosen(question: RuntimeQuestion, index: int, num_tokens: int) -> Layer:
    """Return a layer whose ``top_k`` is how many experts its tokens choose together.

    Each token chooses as many as the arguments say.
    """
    layer = question.model.layers[index]
    asked = question.arguments.experts_per_token
    each = layer.top_k if asked is None else min(layer.top_k, asked)
    distinct = layer.num_experts * (1 - (1 - each / layer.num_experts) ** num_tokens)
    # A whole number, since the sum below runs over numbers of misses.
    return replace(layer, top_k=round(distinct))


def _expected(layer: Layer, cached: CachedExperts, missing: float, lanes: ExpertLanes) -> _Layer:
    """Return a layer's expectations over the number of its misses.

    Each choice misses with the probability ``missing``, independently of the others.
    """
    found = [_with_count(layer, cached, count, lanes) for count in range(layer.top_k + 1)]
    weights = [
        # Binomial: the lanes are not linear in the misses, so the mean number of them is not
        # enough.
        math.comb(layer.top_k, count) * missing**count * (1 - missing) ** (layer.top_k - count)
        for count in range(layer.top_k + 1)
    ]
    return _Layer(
        misses_s=sum(w * own.misses_s for w, own in zip(weights, found, strict=True)),
        on_cpu=sum(w * own.on_cpu for w, own in zip(weights, found, strict=True)),
        cpu_visits=sum(w * own.cpu_visits for w, own in zip(weights, found, strict=True)),
        link_visits=sum(w * own.link_visits for w, own in zip(weights, found, strict=True)),
    )


def _with_count(layer: Layer, cached: CachedExperts, count: int, lanes: ExpertLanes) -> _Layer:
    """Return one layer with ``count`` misses, some of which are copied by the cache's rule."""
    copied = _num_fetched(layer, cached, count, lanes)
    computed = count - copied
    return _Layer(
        misses_s=_lane_seconds(layer, cached, (computed, copied), lanes),
        on_cpu=computed / layer.top_k if layer.top_k else 0.0,
        cpu_visits=float(computed > 0),
        # Where the CPU computes too, its own visit covers the wait for the copies.
        link_visits=float(copied > 0 and computed == 0),
    )


def _num_fetched(layer: Layer, cached: CachedExperts, count: int, lanes: ExpertLanes) -> int:
    if cached.misses is MissRule.CPU:
        return 0
    if cached.misses in COPYING:
        return count
    if cached.misses is MissRule.SHARED:
        both = lanes.link_bytes_per_s + lanes.cpu_bytes_per_s
        return round(count * lanes.link_bytes_per_s / both)
    if cached.fetch_table is not None:
        return fetches(cached.fetch_table, count)
    return min(
        range(count + 1),
        key=lambda copied: _lane_seconds(layer, cached, (count - copied, copied), lanes),
    )


def _lane_seconds(
    layer: Layer, cached: CachedExperts, counts: tuple[int, int], lanes: ExpertLanes
) -> float:
    """Return the seconds of the misses in ``counts`` (computed, copied).

    If none of them is copied, the policy may still copy some of the computed ones into the cache.
    """
    computed, copied = counts
    cpu_bytes = float(computed * layer.expert_bytes)
    link_bytes = float(copied * layer.expert_bytes)
    if copied == 0 and cached.misses is not MissRule.SHARED:
        link_bytes = _admitted_bytes(cached.policy, cpu_bytes, lanes)
    return lanes.seconds(cpu_bytes, link_bytes)


def _admitted_bytes(policy: str, cpu_bytes: float, lanes: ExpertLanes) -> float:
    """Return the bytes that are copied into the cache while the CPU computes.

    A policy with bypass leaves out copies for which the layer would wait.
    """
    fraction = admitted_fraction(policy)
    wanted = fraction * cpu_bytes
    if fraction == 1.0:
        return wanted
    # Copies end with the CPU's work: what would take longer is left out.
    return min(wanted, cpu_bytes / lanes.cpu_bytes_per_s * lanes.link_bytes_per_s)


def _with_misses(
    seconds: Seconds,
    layers: list[_Layer],
    cached: CachedExperts,
    step: Features,
    constants: Constants,
) -> Seconds:
    """Return the price with misses on their lanes, and with crossings only in layers that miss.

    There are two crossings for work on the CPU, and one for copies alone. FreeToken submits, waits
    and merges, which is one more (its pull request 232).
    """
    lanes_s = sum(own.misses_s for own in layers)
    visits = sum(own.cpu_visits for own in layers)
    rank_wait = visits * RANK_WAIT_S if cached.num_ranks > 1 else 0.0
    crossing_s = constants.crossing_us * MICRO
    crossings = _other_crossings(step, len(layers)) + 2 * visits
    crossings += sum(own.link_visits for own in layers)
    crossings += visits if cached.misses is MissRule.SHARED else 0.0
    is_on_cpu = cached.misses not in COPYING
    return replace(
        seconds,
        cpu_experts=(lanes_s if is_on_cpu else 0.0) + rank_wait,
        upload=0.0 if is_on_cpu else lanes_s,
        crossings=(crossings + step.work.gpu_crossings) * crossing_s,
    )


def _streamed(
    seconds: Seconds,
    question: RuntimeQuestion,
    placement: DevicePlacement,
    cached: CachedExperts,
    known: tuple[Locality, CacheRates],
) -> Seconds:
    """Return the price with reads of misses added, which happen one after the other.

    All misses are copied through a buffer. Those that host memory lacks are read from the disk
    first.
    """
    assert question.host.disk is not None
    locality, rates = known
    is_server = question.host.is_server
    own = SERVER_PAGE_COPY_BYTES_PER_S if is_server else PAGE_COPY_BYTES_PER_S
    page_bytes_per_s = own * rates.page_factor
    # Host memory holds other experts than the cache does.
    held = min(1.0, cached.share + cached.memory_share)
    read = expert_misses(question, placement, locality, held)
    copied = expert_misses(question, placement, locality, cached.share)
    return replace(
        seconds,
        upload=seconds.upload + copied / page_bytes_per_s,
        disk=read / question.host.disk.bytes_per_s,
    )


def _other_crossings(step: Features, num_layers: int) -> float:
    """Return the crossings without the two in each MoE layer of which the host has experts."""
    return max(0.0, float(step.work.crossings) - 2 * num_layers)
