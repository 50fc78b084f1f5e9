"""Put the figures that FreeToken's ``ft bench bw`` measured of a computer into a machine.

The fields are those of version 4 (python/freetoken/moe/benchbw.py of FlashML-org/FreeToken,
Apache-2.0); rates are in 10^9 bytes a second. ``ceilings`` hold reads of DRAM and copies over the
link. A workload's ``kernels`` hold two rates by format: FreeToken's CPU kernel over experts of a
stated shape, and the gathering of experts over the link. Each is measured by itself and with the
other.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwprofiles import Curve, InputError, Interference, Kind, Machine, Operation, Quantity
from hwprofiles.errors import shortened
from hwprofiles.machine import ResourceName
from hwprofiles.units import GB, NS_PER_S

FORMATS = {
    "bf16": "bf16",
    "fp8_block": "fp8",
    "nvfp4": "nvfp4",
    "mxfp4_triton": "mxfp4",
    "ds_fp4": "mxfp4",
}
"""FreeToken's names of formats; the last two are 4 bits with a scale for each 32 weights."""


_PAIRS: tuple[tuple[ResourceName, ResourceName, str, str], ...] = (
    ("h2d", "cpu", "cpu_moe_gbs", "cpu_moe_overlap_gbs"),
    ("cpu", "h2d", "pcie_gather_gbs", "pcie_gather_overlap_gbs"),
)
"""The busy resource, the one that it slows, and the latter's rates: by itself and with the
other.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedProfile:
    """The machine with the measured rates in place of its own.

    ``read`` names what was read, and ``passed_over`` entries that are no rates, in words.
    """

    machine: Machine
    read: tuple[str, ...]
    passed_over: tuple[str, ...]


def with_freetoken_profile(machine: Machine, path: Path) -> ImportedProfile:
    """Put a profile into a machine. Raises InputError for a file that is no such profile."""
    data = _profile(path)
    date = str(data.get("timestamp", "2026"))[:10]
    gpu = data["gpu"].get("name", "unknown")
    source = f"ft bench bw (FreeToken, Apache-2.0) of {gpu}, {path.name}"
    read: list[str] = []

    def rate(name: str) -> Quantity | None:
        """Return the rate of that name, and note it as read; None if the profile has none."""
        value = _rate(data["ceilings"].get(name))
        if value is None:
            return None
        read.append(f"{name} {value:g} GB/s")
        return Quantity(value=value * GB, kind=Kind.MEASURED, source=f"{source}: {name}", date=date)

    memory = rate("cpu_stream_read_gbs")
    down, up = rate("pcie_linear_h2d_gbs"), rate("pcie_linear_d2h_gbs")
    link = machine.link
    h2d = link.h2d.model_copy(update={"bytes_per_s": down}) if down else link.h2d
    d2h = link.d2h.model_copy(update={"bytes_per_s": up}) if up else link.d2h
    cpu = machine.cpu.model_copy(update={"memory_bytes_per_s": memory}) if memory else machine.cpu
    curves = tuple(_curves(data, source, date))
    read += [f"CPU experts {curve.dtype} {curve.shape}" for curve in curves]
    changed = {
        "cpu": cpu,
        "link": link.model_copy(update={"h2d": h2d, "d2h": d2h}),
        # The first curve of a shape counts, so those just measured come first.
        "curves": (*curves, *machine.curves),
        "interference": _interference(machine, data, source, date),
    }
    if not read:
        raise InputError(f"{path}: has none of the rates of ft bench bw")
    return ImportedProfile(
        machine=machine.model_copy(update=changed),
        read=tuple(read),
        passed_over=tuple(_no_rates(data)),
    )


def _profile(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise InputError(f"{path}: cannot be read: {str(problem).splitlines()[0]}") from None
    is_profile = isinstance(data, dict) and all(
        isinstance(data.get(name), dict) for name in ("gpu", "ceilings")
    )
    if not is_profile:
        raise InputError(f"{path}: no profile of ft bench bw: it has gpu and ceilings")
    return dict(data)


def _rate(value: object) -> float | None:
    """Return a value as a rate in 10^9 bytes a second, or None if it cannot be one."""
    # To Python true is an integer, but it is no rate.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # No memory or link reads at such a rate; the number must be in another unit.
    return float(value) if 0.001 <= value <= 1e6 else None


def _no_rates(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the entries that stand where a rate should and are none; null means not measured."""
    # A list and no recursion: a file may be nested as deep as its reader allows.
    pending = list(data.items())
    for path, value in pending:
        if isinstance(value, dict):
            pending += [(f"{path}.{name}", inner) for name, inner in value.items()]
        elif path.endswith("_gbs") and value is not None and _rate(value) is None:
            yield f"{shortened(path)}: {shortened(str(value))}"


def _count(value: object) -> int | None:
    """Return a number of bytes or a dimension, or None if the value is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _kernels(data: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Model, format and figures of each workload whose shape is stated."""
    workloads = data.get("workloads")
    for workload in workloads.values() if isinstance(workloads, dict) else ():
        if not isinstance(workload, dict):
            continue
        model, kernels = workload.get("model"), workload.get("kernels")
        if isinstance(model, dict) and isinstance(kernels, dict):
            for name, entry in kernels.items():
                if name in FORMATS and isinstance(entry, dict):
                    yield model, FORMATS[name], entry


def _curves(data: Mapping[str, Any], source: str, date: str) -> Iterator[Curve]:
    """Yield a curve of one expert on the CPU, for one token, for each measured shape and format."""
    for model, dtype, entry in _kernels(data):
        rate = _rate(entry.get("cpu_moe_gbs"))
        size, hidden, intermediate = (
            _count(value)
            for value in (entry.get("expert_bytes"), model.get("hidden"), model.get("inter"))
        )
        if rate and size and hidden and intermediate:
            yield Curve(
                operation=Operation.EXPERT,
                device="cpu",
                dtype=dtype,
                shape={"hidden": hidden, "intermediate": intermediate},
                points=((1, round(size / (rate * GB) * NS_PER_S)),),
                kind=Kind.MEASURED,
                source=f"{source}: cpu_moe_gbs of {model.get('name')}",
                date=date,
            )


def _interference(
    machine: Machine, data: Mapping[str, Any], source: str, date: str
) -> tuple[Interference, ...]:
    """Return the machine's interference with the shares of rate that CPU experts and copies keep.

    These shares are means over all measured kernels.
    """
    by_format = data.get("dtype_kernels")
    entries = [entry for _, _, entry in _kernels(data)]
    entries += [one for one in (by_format or {}).values() if isinstance(one, dict)]
    kept = {(one.busy, one.slows): one for one in machine.interference}
    for busy, slows, alone, both in _PAIRS:
        shares = list(_shares(entries, alone, both))
        if shares:
            share = Quantity(
                value=sum(shares) / len(shares),
                kind=Kind.MEASURED,
                source=f"{source}: {both} over {alone}",
                date=date,
            )
            kept[busy, slows] = Interference(busy=busy, slows=slows, rate_fraction=share)
    return tuple(kept.values())


def _shares(entries: list[dict[str, Any]], alone: str, both: str) -> Iterator[float]:
    for entry in entries:
        by_itself, at_once = _rate(entry.get(alone)), _rate(entry.get(both))
        if by_itself is not None and at_once is not None:
            # Noise can raise a rate above the one measured alone, but no lane speeds another up.
            yield min(1.0, at_once / by_itself)
