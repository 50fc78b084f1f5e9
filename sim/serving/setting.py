"""Making a serving setting from a serving file, a machine and a model. Rates that the file leaves
out are the machine's.
"""

from collections.abc import Iterator

from hwprofiles import InputError, Machine, Quantity, Store, weakest
from sim.model.model import Model
from sim.serving.cluster import ServingSetting
from sim.serving.link import TransferRate
from sim.serving.offload_options import OffloadOptions, OffloadSpec
from sim.serving.options import InstanceOptions
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierOptions, TierSpec
from sim.step.provenance import UsedNumber

HOST = "cpu"


def serving_setting(
    spec: ServingSpec, machine: Machine, model: Model, where: str = ""
) -> ServingSetting:
    """Return the setting that the file states on that machine.

    ``where`` names the file in errors, if all that is stated comes from one file. Raises InputError
    for instances without GPUs and tiers without rates.
    """
    try:
        return _setting(spec, machine, model)
    except InputError as error:
        raise InputError(f"{where}: {error}" if where else str(error)) from None


def _setting(spec: ServingSpec, machine: Machine, model: Model) -> ServingSetting:
    num_instances = spec.num_instances
    num_gpus = spec.instance.num_gpus or machine.gpu.count // num_instances
    if num_gpus < 1:
        raise InputError(
            f"num_instances must be at most the {machine.gpu.count} GPUs of {machine.name}, got {num_instances}"
        )
    return ServingSetting(
        machine=machine,
        model=model,
        instance=InstanceOptions(**dict(spec.instance) | {"num_gpus": num_gpus}),
        num_instances=num_instances,
        offload=_offload(spec, machine, num_gpus),
        disaggregation=spec.disaggregation,
        balancing=spec.balancing,
    )


def serving_numbers(setting: ServingSetting) -> Iterator[UsedNumber]:
    """The numbers of the machine, and of the serving file, that the run is charged by."""
    gpu = setting.machine.gpu
    instance = setting.instance
    quantities = {
        # Memory is a charge too: it sets how much KV fits, and with it the waiting.
        "gpu.memory_bytes": gpu.memory_bytes,
        "gpu.memory_bytes_per_s": gpu.memory_bytes_per_s,
    }
    quantities |= {
        f"gpu.flops_per_s.{name}": rate
        for name, rate in gpu.flops_per_s.items()
        if name in _compute_types(setting)
    }
    quantities |= {"gpu.kernel_ns": gpu.kernel_ns, "gpu.serial_fraction": gpu.serial_fraction}
    if not instance.captures_graphs:
        quantities["gpu.launch_overhead_ns"] = gpu.launch_overhead_ns
    for path, quantity in quantities.items():
        yield UsedNumber(path=path, value=quantity.effective, provenance=quantity.provenance)
    if instance.all_reduce is not None and instance.num_gpus > 1:
        link = instance.all_reduce
        yield UsedNumber(
            path="instance.all_reduce.bytes_per_s",
            value=link.bytes_per_s,
            provenance=link.provenance,
        )
    if setting.disaggregation is not None:
        rate = setting.disaggregation.link.bytes_per_s
        yield UsedNumber(
            path="disaggregation.link.bytes_per_s",
            value=rate,
            provenance=setting.disaggregation.link.provenance,
        )
    for tier in setting.offload.tiers if setting.offload else ():
        yield UsedNumber(
            path=f"tiers.{tier.name}.read.bytes_per_s",
            value=tier.read.bytes_per_s,
            provenance=tier.provenance,
        )
        yield UsedNumber(
            path=f"tiers.{tier.name}.write.bytes_per_s",
            value=tier.write.bytes_per_s,
            provenance=tier.provenance,
        )


def _compute_types(setting: ServingSetting) -> set[str]:
    present = setting.machine.gpu.flops_per_s
    return {dtype if dtype in present else "bf16" for dtype in setting.model.dtypes.values()}


def _offload(spec: ServingSpec, machine: Machine, num_gpus: int) -> OffloadOptions | None:
    if not spec.tiers:
        return None
    tiers = tuple(
        _tier(tier, machine, num_gpus, is_host=index == 0) for index, tier in enumerate(spec.tiers)
    )
    return OffloadOptions(tiers=tiers, rules=spec.offload or OffloadSpec())


def _tier(spec: TierSpec, machine: Machine, num_gpus: int, *, is_host: bool) -> TierOptions:
    # Rates that are left out, and the copies to the GPUs, follow from the name and the place.
    if is_host != (spec.name == HOST):
        raise InputError(
            f"tiers: the first must be named {HOST} (the memory that every copy goes through), and no other; got {spec.name}"
        )
    read = spec.read
    write = spec.write
    if read is None or write is None:
        own = _host_rates(machine, num_gpus) if is_host else _store_rates(spec.name, machine)
        # What the file states goes before the machine's number, each way by itself.
        read = read or own[0]
        write = write or own[1]
    is_remote = spec.name == "remote"
    settled = {
        "read": read,
        "write": write,
        # PCIe and networks send and receive at once; a disk serves reads and writes from one queue.
        "is_duplex": (is_host or is_remote) if spec.is_duplex is None else spec.is_duplex,
        "is_shared": is_remote if spec.is_shared is None else spec.is_shared,
    }
    return TierOptions(**dict(spec) | settled)


def _host_rates(machine: Machine, num_gpus: int) -> tuple[TransferRate, TransferRate]:
    """Return the rates of reading and writing: each GPU of an instance copies its share over a link
    of its own, all at once.
    """
    link = machine.link
    return tuple(_rate(way.bytes_per_s, way.latency_ns, num_gpus) for way in (link.h2d, link.d2h))  # type: ignore[return-value]  # two


def _store_rates(name: str, machine: Machine) -> tuple[TransferRate, TransferRate]:
    store: Store | None = getattr(machine, name) if name in {"disk", "remote"} else None
    if store is None:
        raise InputError(
            f"tier {name}: {machine.name} states no rates for it; give read.bytes_per_s and write.bytes_per_s in a serving file"
        )
    rate = _rate(store.bytes_per_s, store.latency_ns, 1)
    return rate, rate


def _rate(bytes_per_s: Quantity, latency_ns: Quantity, factor: int) -> TransferRate:
    worst = weakest([bytes_per_s.provenance, latency_ns.provenance])
    return TransferRate(
        bytes_per_s=bytes_per_s.effective * factor,
        latency_ns=latency_ns.effective,
        kind=worst.kind,
        source=worst.source,
        date=worst.date,
    )
