"""The parts of a machine: devices, memories, links, measured curves and interference, every number
with provenance.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hwprofiles.amounts import Count, Duration, Rate, RatesByType, Share, above_zero
from hwprofiles.curve import Curve
from hwprofiles.errors import InputError
from hwprofiles.gpu_defaults import KERNEL_NS, PACKED_RATE_FRACTION, SERIAL_FRACTION
from hwprofiles.limits import MAX_DEVICES
from hwprofiles.quantity import Quantity
from hwprofiles.runtime_kernels import RuntimeKernels
from hwprofiles.units import GB

FORMAT = "rosin-machine/1"
ResourceName = Literal["gpu", "h2d", "d2h", "cpu", "disk"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gpu(_Part):
    """One kind of GPU, ``count`` of them. Every field is per GPU.

    ``count`` is 0 on a machine without a GPU: then its memory is 0 bytes and its rates are those of
    the CPU. ``memory_bytes`` is what a process can allocate (CUDA's total memory), not the figure
    on the box. ``flops_per_s`` maps a compute type (``bf16``, ``fp8``, ``int8``) to dense matrix
    throughput. ``launch_overhead_ns`` is the host's time for one launch; a captured graph spends
    none. ``kernel_ns`` is what each kernel takes besides its work, in a captured graph too.
    ``serial_fraction`` is the share of the shorter of reading and arithmetic that the longer one
    does not hide. ``packed_rate_fraction`` is the share of the memory rate at which weights of
    fewer than 8 bits are read, as they are unpacked. ``context_bytes`` is what the driver takes of
    the GPU's memory for one process (a CUDA context); null: the largest figure that is published.
    """

    name: str
    count: Annotated[int, Field(ge=0, le=MAX_DEVICES)] = 1
    memory_bytes: Quantity
    memory_bytes_per_s: Rate
    flops_per_s: RatesByType
    launch_overhead_ns: Duration
    kernel_ns: Duration = KERNEL_NS
    serial_fraction: Share = SERIAL_FRACTION
    packed_rate_fraction: Annotated[Share, AfterValidator(above_zero)] = PACKED_RATE_FRACTION
    context_bytes: Quantity | None = None

    @model_validator(mode="after")
    def _no_memory_without_a_gpu(self) -> Self:
        if self.count == 0 and self.memory_bytes.value > 0:
            raise ValueError(
                f"count 0 says that there is no GPU, so memory_bytes must be 0, got {self.memory_bytes.value:g}"
            )
        return self


class CpuThreads(_Part):
    """The rates of the CPU with another number of threads. All are stated; none is scaled from the
    rates of other numbers.
    """

    threads: Count
    memory_bytes_per_s: Rate
    flops_per_s: RatesByType
    call_overhead_ns: Duration


class Cpu(_Part):
    """A machine's CPU, all sockets together.

    ``memory_bytes`` is null where no source states it; the memory then limits nothing.
    ``call_overhead_ns`` is the cost of handing one operation to the CPU pool and back. Rates are
    for ``threads`` threads (null: as many as the source had). ``by_threads`` states rates for other
    numbers of threads, among which a plan may choose. ``cores`` counts all physical cores,
    ``efficiency_cores`` the smaller ones among them. ``instructions`` are those that products of
    matrices use (``avx2``, ``avx512``, ``vnni``, ``bf16``, ``amx``). ``vector_bits`` is the width
    of the units that run them, and ``clock_hz`` the clock with all cores busy. A field that no
    source states is null; empty ``instructions`` mean unknown ones.
    """

    name: str
    sockets: Count = 1
    cores: Count
    efficiency_cores: Annotated[int, Field(ge=0, le=MAX_DEVICES)] = 0
    instructions: tuple[str, ...] = ()
    vector_bits: Annotated[int, Field(ge=1)] | None = None
    clock_hz: Rate | None = None
    memory_bytes: Quantity | None = None
    memory_bytes_per_s: Rate
    flops_per_s: RatesByType
    call_overhead_ns: Duration
    threads: Count | None = None
    by_threads: tuple[CpuThreads, ...] = ()

    @model_validator(mode="after")
    def _counts_differ(self) -> Self:
        if self.by_threads and self.threads is None:
            raise ValueError("by_threads needs threads, the number that the other rates are for")
        # A number that is there twice would leave open which of its rates hold.
        counts = [self.threads, *(entry.threads for entry in self.by_threads)]
        repeated = next((count for count in counts if counts.count(count) > 1), None)
        if repeated is not None:
            raise ValueError(
                f"rates for {repeated} threads are there twice, in by_threads or as the others beside threads"
            )
        return self


class Direction(_Part):
    """One direction of the link between host and one GPU, or from one GPU to another.

    Pageable rates default to the pinned ones.
    """

    bytes_per_s: Rate
    pageable_bytes_per_s: Rate | None = None
    latency_ns: Duration


class Link(_Part):
    """The link between host and GPU, with each direction by itself."""

    name: str
    h2d: Direction
    d2h: Direction


class OtherGpu(_Part):
    """GPUs of another kind, or on another link, than the machine's ``gpu``. ``link`` is that of one
    of them.
    """

    gpu: Gpu
    link: Link


class Store(_Part):
    """A tier behind DRAM: a local disk or a remote store."""

    name: str
    memory_bytes: Quantity | None = None
    bytes_per_s: Rate
    latency_ns: Duration


class Host(_Part):
    """Software costs of a machine that belong to no device: per layer and per forward pass.

    ``hand_over_ns`` passes between the end of a task and the start of a task on another lane that
    waited for it. The number serves comparison with real lanes; no simulation uses it.
    """

    layer_overhead_ns: Duration
    step_overhead_ns: Duration
    hand_over_ns: Duration | None = None


class Interference(_Part):
    """One resource that slows another: while ``busy`` runs, ``slows`` progresses at
    ``rate_fraction`` of its speed.
    """

    busy: ResourceName
    slows: ResourceName
    rate_fraction: Rate

    @model_validator(mode="after")
    def _slows_another(self) -> Self:
        if self.busy == self.slows:
            raise ValueError(f"busy and slows must differ, got {self.busy} twice")
        if self.rate_fraction.effective > 1:
            raise ValueError(
                f"rate_fraction must be at most 1, got {self.rate_fraction.effective:g}"
            )
        return self


class Machine(_Part):
    """A machine as a file states it. Units are in the names of fields; ``Quantity.effective`` is
    the number that is simulated.

    ``price_usd`` is the price of the whole machine, not of its GPU. ``other_gpus`` are of other
    kinds than ``gpu``, in the order in which they were named. ``gpu_link`` carries data from any
    GPU to any other; null: data goes down to the host and up again. ``assumptions`` are sentences
    on what was assumed of the machine, for readers of a result. ``runtime_kernels`` are the kernel
    laws of runtimes on this machine.
    """

    format: Literal["rosin-machine/1"]
    name: str
    description: str
    gpu: Gpu
    cpu: Cpu
    link: Link
    host: Host
    gpu_link: Direction | None = None
    disk: Store | None = None
    remote: Store | None = None
    curves: tuple[Curve, ...] = ()
    interference: tuple[Interference, ...] = ()
    price_usd: Quantity | None = None
    other_gpus: tuple[OtherGpu, ...] = ()
    runtime_kernels: tuple[RuntimeKernels, ...] = ()
    assumptions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Parts and sizes; ``model_dump()`` has every number."""
        cards = [self.gpu, *(other.gpu for other in self.other_gpus)]
        shown = [
            f"{each.count} x {each.name}, {each.memory_bytes.effective / GB:.3g} GB"
            for each in cards
            if each.count
        ]
        return f"<Machine {self.name}: {'; '.join(shown) or 'no GPU'}; {self.cpu.name}, {self.cpu.cores} cores>"

    __str__ = __repr__

    @model_validator(mode="after")
    def _one_factor_a_pair(self) -> Self:
        pairs = [(entry.busy, entry.slows) for entry in self.interference]
        repeated = next((pair for pair in pairs if pairs.count(pair) > 1), None)
        if repeated:
            raise ValueError(
                f"interference has more than one factor for busy {repeated[0]}, slows {repeated[1]}"
            )
        return self

    @property
    def has_gpu(self) -> bool:
        """Whether the machine has a GPU at all."""
        return self.gpu.count > 0

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """The numbers of CPU threads with stated rates, ``cpu.threads`` first; empty where
        ``cpu.threads`` is null.
        """
        return (
            ()
            if self.cpu.threads is None
            else (self.cpu.threads, *(entry.threads for entry in self.cpu.by_threads))
        )

    def at_threads(self, threads: int) -> "Machine":
        """Return the machine with the rates of that many CPU threads.

        CPU curves that were measured with another number of threads are left out, except reads of
        memory. Interference stays as it is stated. Raises InputError where no rates are stated for
        that number.
        """
        if threads not in self.thread_counts:
            stated = ", ".join(map(str, self.thread_counts)) or "none"
            raise InputError(
                f"{self.name} states no rates for {threads} CPU threads (cpu.by_threads); stated: {stated}"
            )
        # The rates and curves are those of this number already.
        if threads == self.cpu.threads:
            return self
        entry = next(entry for entry in self.cpu.by_threads if entry.threads == threads)
        rates = {
            name: getattr(entry, name)
            for name in ("threads", "memory_bytes_per_s", "flops_per_s", "call_overhead_ns")
        }
        curves = tuple(
            # None means the machine's own number, which this now is.
            curve.model_copy(update={"threads": None}) if curve.threads == threads else curve
            for curve in self.curves
        )
        kept = tuple(
            own
            for curve, own in zip(self.curves, curves, strict=True)
            # What the CPU takes with other numbers of threads would contradict the rates stated for
            # this one.
            if not curve.is_of_cpu_rates or curve.threads == threads
        )
        return self.model_copy(
            update={"cpu": self.cpu.model_copy(update=rates | {"by_threads": ()}), "curves": kept}
        )
