"""The rates of a CPU with another number of threads than they are stated for, by published
shares.
"""

from hwprofiles.efficiencies import ThreadShares, efficiencies
from hwprofiles.machine import Cpu, CpuThreads, Machine
from hwprofiles.quantity import Efficiency, Kind, Quantity


def with_threads(machine: Machine, threads: int) -> Machine:
    """Return the machine with that many CPU threads, with stated rates or else derived ones.

    Rates are derived only where none is measured. Raises InputError where rates were measured, but
    not with that many threads.
    """
    cpu = machine.cpu
    is_measured = Kind.MEASURED in {
        cpu.memory_bytes_per_s.kind,
        *(rate.kind for rate in cpu.flops_per_s.values()),
    }
    # Measured rates are not scaled: what is missing beside them is measured too, not guessed.
    if threads in machine.thread_counts or is_measured or threads < 1:
        return machine.at_threads(threads)
    # One thread on each performance core is what rates without a number are taken to be for.
    own = cpu.threads or cpu.cores - cpu.efficiency_cores
    if threads == own:
        return machine
    known = cpu.model_copy(update={"threads": own, "by_threads": (derived(cpu, threads),)})
    return machine.model_copy(update={"cpu": known}).at_threads(threads)


def derived(cpu: Cpu, threads: int) -> CpuThreads:
    """Derive the rates of that many threads from those of one thread on each performance core.

    Fewer threads read at most what each of them can, and compute in proportion to their number.
    More threads are slower, by one share on efficiency cores and by another beyond all cores.
    """
    shares = efficiencies().threads
    own = cpu.threads or cpu.cores - cpu.efficiency_cores
    rates = cpu.flops_per_s
    if threads <= own:
        memory = _of_few(cpu.memory_bytes_per_s, threads, shares)
        share_of = threads / own
        computing = {name: _scaled(rate, share_of, threads) for name, rate in rates.items()}
    else:
        share = shares.e_cores if threads <= cpu.cores else shares.smt
        memory = _lowered(cpu.memory_bytes_per_s, share, threads)
        computing = {name: _lowered(rate, share, threads) for name, rate in cpu.flops_per_s.items()}
    return CpuThreads(
        threads=threads,
        memory_bytes_per_s=memory,
        flops_per_s=computing,
        call_overhead_ns=cpu.call_overhead_ns,
    )


def _of_few(rate: Quantity, threads: int, shares: ThreadShares) -> Quantity:
    """The read rate of the threads: the memory's rate, or the sum of what each thread can read,
    whichever is less.
    """
    one = shares.one_thread_bytes_per_s
    if threads * one.value >= rate.effective:
        return rate
    low, high = one.range
    _, most = rate.effective_range
    return Quantity(
        value=threads * one.value,
        # The spread of one thread holds for each, but all of them read no more than the memory
        # gives.
        low=min(threads * low, threads * one.value),
        high=max(threads * one.value, min(threads * high, most)),
        kind=Kind.ASSUMED,
        source=f"{threads} threads: {one.source}",
        date=one.date,
    )


def _scaled(rate: Quantity, factor: float, threads: int) -> Quantity:
    low, high = rate.range
    return rate.model_copy(
        update={
            "value": rate.value * factor,
            "low": low * factor,
            "high": high * factor,
            "kind": Kind.ASSUMED,
            "source": f"{threads} threads, by their number: {rate.source}",
        }
    )


def _lowered(rate: Quantity, share: Efficiency, threads: int) -> Quantity:
    """Return the rate with its efficiency, and its spread, multiplied by the share."""
    own = rate.efficiency
    own_low, own_high = own.range if own else (1.0, 1.0)
    low, high = share.range
    efficiency = Efficiency(
        value=(own.value if own else 1.0) * share.value,
        low=own_low * low,
        high=own_high * high,
        # Kinds are listed from strong to weak: the result is as weak as the weaker of both.
        kind=share.kind if own is None else max(own.kind, share.kind, key=list(Kind).index),
        source=f"{threads} threads: {share.source}" + (f"; and {own.source}" if own else ""),
        date=share.date,
    )
    return rate.model_copy(update={"efficiency": efficiency})
