"""What a plan may choose besides a policy.

Choices are the storage of weights, the number of CPU threads, the layout over several cards, and
how experts are read from a disk.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from hwprofiles import Machine, load_machine
from planner.search.layouts import Layout, layouts
from planner.search.plan import Setting
from planner.search.search import OfferBest, Search
from sim.costs.memory import Infeasible
from sim.model.library import load_model

READS = ("cached", "direct")
"""Ways to treat experts that are read from a disk, the simpler first."""

RATES = ("cpu.memory_bytes_per_s", "cpu.flops_per_s", "cpu.call_overhead_ns")
"""Rates of the machine that an override changes for one number of threads only.

The rates for other numbers are then no longer comparable.
"""

FIGURES = ("output_tokens_per_s", "ttft_s", "tpot_s", "end_to_end_s")


def offers_of(setting: Setting) -> tuple[Setting, ...]:
    """Return the setting once for each offer, in the order of preference.

    Schemes come in the order named, and the machine's own number of threads comes first. A setting
    without offers stands for itself. A setting without a number of threads offers all numbers that
    its machine has rates for, unless another number outdoes them. Raises InputError for a scheme,
    or a number of threads, that there is not.
    """
    schemes = setting.offered_quantizations or (setting.quantization,)
    return tuple(
        offer
        for scheme in schemes
        for threads in _threads(setting)
        for offer in _laid_out(
            setting.model_copy(update={"quantization": scheme, "cpu_threads": threads})
        )
    )


def _laid_out(setting: Setting) -> Iterator[Setting]:
    """Yield the setting once for each layout over its cards, and for each way to read from a disk.

    The ways to read are tried where some experts have to be read from the disk.
    """
    machine = setting.loaded_machine()
    model = setting.loaded_model()
    ways: tuple[Layout, ...] = (setting.layers_by_card,)
    # Cards that share layers are not planned for: the search refuses them in its own words.
    lays_out = setting.gpus > 1 and setting.split_mode == "layer"
    if lays_out and not setting.layers_by_card:
        ways = layouts(machine, model, setting.gpus)
    memory = machine.cpu.memory_bytes
    may_read = memory is not None and model.total_bytes > memory.effective
    reads = READS if may_read and machine.disk is not None else (setting.disk_reads,)
    for way in ways:
        for kind in reads:
            yield setting.model_copy(update={"layers_by_card": way, "disk_reads": kind})


def chosen(setting: Setting, offers: tuple[Setting, ...], number: int) -> Setting:
    """Return the offer of that number, with the choices that it was taken from."""
    counts = tuple(
        dict.fromkeys(offer.cpu_threads for offer in offers if offer.cpu_threads is not None)
    )
    offered = {
        "offered_quantizations": setting.offered_quantizations,
        "offered_cpu_threads": counts if len(counts) > 1 else (),
    }
    return offers[number].model_copy(update=offered)


def offer_rows(offers: tuple[Setting, ...], found: Search) -> Iterator[dict[str, Any]]:
    """Yield what each offer would give, in plain types; nothing where there is no choice."""
    if len(offers) > 1:
        for number, (offer, best) in enumerate(zip(offers, found.offers, strict=True)):
            quantization = load_model(offer.model, offer.quantization).quantization
            is_chosen = number == found.offer
            yield {
                "quantization": quantization,
                "cpu_threads": offer.cpu_threads,
                "layers_by_card": list(offer.layers_by_card),
                "disk_reads": offer.disk_reads,
                "is_chosen": is_chosen,
            } | _figures(best)


def _figures(best: OfferBest) -> dict[str, Any]:
    if isinstance(best.outcome, Infeasible):
        return asdict(best.outcome)
    shown = {name: getattr(best.outcome, name) for name in FIGURES}
    compared = {
        name: getattr(best, name) for name in ("num_draws", "worse_fraction", "half_width_fraction")
    }
    return {"policy": best.policy} | shown | compared


def _threads(setting: Setting) -> tuple[int | None, ...]:
    if setting.offered_cpu_threads:
        return setting.offered_cpu_threads
    machine = load_machine(setting.machine, setting.machine_overrides)
    counts = tuple(count for count in machine.thread_counts if not _is_outdone(machine, count))
    if setting.cpu_threads is not None or not counts:
        return (setting.cpu_threads,)
    is_changed = any(
        override.partition("=")[0].startswith(RATES) for override in setting.machine_overrides
    )
    # A changed rate is that of one number of threads; the others' would be compared with it in
    # vain.
    return counts[:1] if is_changed else counts


def _is_outdone(machine: Machine, count: int) -> bool:
    """Whether another number of threads is at least as fast in everything, and faster in something.

    No plan is then better with this number.
    """
    if any(curve.is_of_cpu_rates for curve in machine.curves):
        return False  # a curve may say otherwise than the rates
    own = _figures_of(machine, count)
    others = (_figures_of(machine, other) for other in machine.thread_counts if other != count)
    return any(_is_faster(other, own) for other in others)


def _figures_of(machine: Machine, count: int) -> dict[str, float]:
    """Return the rates with that many threads, and the negative ns of a call: more is better in
    all.
    """
    cpu = machine.at_threads(count).cpu
    rates = {name: rate.effective for name, rate in cpu.flops_per_s.items()}
    return rates | {
        "memory": cpu.memory_bytes_per_s.effective,
        "call": -cpu.call_overhead_ns.effective,
    }


def _is_faster(one: dict[str, float], other: dict[str, float]) -> bool:
    if one.keys() != other.keys():
        return False
    return one != other and all(one[name] >= value for name, value in other.items())
