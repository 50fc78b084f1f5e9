"""The link between host and a GPU, by PCIe generation and lanes."""

from hwprofiles.machine import Cpu, Direction, Link
from hwprofiles.parts.library import PartsLibrary
from hwprofiles.parts.rig import ASSUMED_DATE, RigGpu
from hwprofiles.quantity import Efficiency, Kind, Quantity
from hwprofiles.units import BITS_PER_BYTE, GIGA

LATENCY_NS = 10e3
LATENCY_SOURCE = "order of one asynchronous copy with its event: twice a kernel launch"

GIGATRANSFERS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
"""Gigatransfers a second of one lane by PCIe generation (PCI Express Base Specification 1.0 to
6.0).
"""

ENCODED = {1: 8 / 10, 2: 8 / 10, 3: 128 / 130, 4: 128 / 130, 5: 128 / 130, 6: 242 / 256}
"""Share of a lane's bits that carry data, by PCIe generation: 8b/10b, 128b/130b, and 242 of 256
bytes of a flit.
"""

PAGEABLE_PEAK = 16 * GIGATRANSFERS[4] * ENCODED[4] / BITS_PER_BYTE * GIGA
"""The rate in bytes/s above which a faster link does not speed up pageable copies: that of PCIe 4.0
x16.
"""


def link_of(gpu: RigGpu, library: PartsLibrary) -> Link:
    """Return the link between the host and one of the GPUs."""
    host = gpu.part.host
    if host is not None and host.link is not None:
        assert host.link_bytes_per_s is not None
        return _link(
            host.link,
            host.link_bytes_per_s,
            gpu.part.listed.source,
            Kind.DATASHEET,
            library,
        )
    if gpu.part.is_unified:
        source = "memory in common: a copy reads and writes there, at half its rate each"
        return _link(
            "memory in common",
            gpu.part.memory_bytes_per_s / 2,
            source,
            Kind.ASSUMED,
            library,
        )
    assert gpu.generation is not None
    assert gpu.lanes is not None
    rate = pcie_bytes_per_s(gpu.generation, gpu.lanes)
    name = f"PCIe {gpu.generation}.0 x{gpu.lanes}"
    transfers = f"{GIGATRANSFERS[gpu.generation]:g} GT/s x {gpu.lanes} lanes"
    formula = f"{transfers} x {ENCODED[gpu.generation]:.4g} / 8"
    kind = Kind.DATASHEET if gpu.is_link_named else Kind.ASSUMED
    return _link(name, rate, f"{gpu.link_source}; PCI Express: {formula}", kind, library)


def no_link(cpu: Cpu) -> Link:
    """Return the Link of a machine without a GPU: the rate of the CPU's own memory, without
    latency.
    """
    latency = Quantity(
        value=0,
        kind=Kind.ASSUMED,
        source="the machine has no GPU",
        date=ASSUMED_DATE,
    )
    way = Direction(bytes_per_s=cpu.memory_bytes_per_s, latency_ns=latency)
    return Link(name="no GPU", h2d=way, d2h=way)


def pcie_bytes_per_s(generation: int, lanes: int) -> float:
    """Return the bytes a second that the lanes carry one way, packets' headers included."""
    return GIGATRANSFERS[generation] * lanes * ENCODED[generation] / BITS_PER_BYTE * GIGA


def _link(name: str, rate: float, source: str, kind: Kind, library: PartsLibrary) -> Link:
    shares = library.efficiencies
    # Pageable copies pass a buffer in host memory, whose rate does not grow with faster links.
    pageable_share = _lowered(shares.pageable, min(1.0, PAGEABLE_PEAK / rate))

    def quantity(share: Efficiency) -> Quantity:
        """The link's peak with the share of it that is reached."""
        return Quantity(value=rate, kind=kind, source=source, date=ASSUMED_DATE, efficiency=share)

    latency = Quantity(
        value=LATENCY_NS,
        kind=Kind.ASSUMED,
        source=LATENCY_SOURCE,
        date=ASSUMED_DATE,
    )
    way = Direction(
        bytes_per_s=quantity(shares.link),
        pageable_bytes_per_s=quantity(pageable_share),
        latency_ns=latency,
    )
    return Link(name=name, h2d=way, d2h=way)


def _lowered(share: Efficiency, factor: float) -> Efficiency:
    low, high = share.range
    return share.model_copy(
        update={"value": share.value * factor, "low": low * factor, "high": high * factor},
    )
