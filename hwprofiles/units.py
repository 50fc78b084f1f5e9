"""Every unit conversion of the project: constants, parsing of what people type, printing for
people.
"""

import re

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000
MS_PER_S = 1_000
MICRO = 1e-6
KIBI = 2**10
KIB = KIBI
MIB = 2**20
GIB = 2**30
TIB = 2**40
KB = 10**3
MB = 10**6
GB = 10**9
TB = 10**12
TERA = 10**12
GIGA = 10**9
THOUSAND = 10**3
MILLION = 10**6
BILLION = 10**9
MEGAHERTZ = 10**6
GIGAHERTZ = 10**9
BITS_PER_BYTE = 8

# A small b is read as byte, as people type it; no rate here is stated in bits.
_SUFFIXES = {
    "": 1, "b": 1,
    "k": KB, "kb": KB, "kib": KIB,
    "m": MB, "mb": MB, "mib": MIB,
    "g": GB, "gb": GB, "gib": GIB,
    "t": TB, "tb": TB, "tib": TIB,
}  # fmt: skip
_NUMBER = re.compile(r"\s*([+-]?[0-9_.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)(?:/s)?\s*", re.ASCII)


def parse_number(text: str) -> float:
    """Read a number such as ``50e9``, ``24GB``, ``64GiB``, ``50GB/s`` or ``inf``; decimal suffixes
    are powers of 1000.

    Raises ValueError, with the accepted forms, on anything else.
    """
    if text.strip().lower() in {"inf", "infinity"}:
        return float("inf")
    match = _NUMBER.fullmatch(text)
    suffix = match.group(2).lower() if match else ""
    if match is None or suffix not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a number; write for example 50e9, 24GB or 64GiB")
    try:
        return float(match.group(1)) * _SUFFIXES[suffix]
    except ValueError:
        raise ValueError(
            f"{text!r} is not a number; write for example 50e9, 24GB or 64GiB"
        ) from None


def _scaled(value: float, steps: list[tuple[float, str]], suffix: str = "") -> str:
    for size, unit in steps:
        if abs(value) >= size * 0.9995:  # 999.7 GB rounds to 1.00 TB, not to 1,000 GB
            return f"{_three_digits(value / size)} {unit}{suffix}"
    size, unit = steps[-1]
    return f"{_three_digits(value / size)} {unit}{suffix}"


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def format_bytes(num_bytes: float) -> str:
    """Bytes for a person, decimal units: ``format_bytes(3.2e9) == '3.20 GB'``."""
    if num_bytes == 0:
        return "0 B"
    return _scaled(num_bytes, [(TB, "TB"), (GB, "GB"), (MB, "MB"), (KB, "kB"), (1, "B")])


def format_rate(bytes_per_s: float) -> str:
    """Bytes per second for a person, decimal units: ``'24.2 GB/s'``."""
    return _scaled(bytes_per_s, [(TB, "TB"), (GB, "GB"), (MB, "MB"), (KB, "kB"), (1, "B")], "/s")


def format_flops(flops_per_s: float) -> str:
    """Floating-point operations per second for a person; tera is 1e12, never 2**40."""
    return _scaled(flops_per_s, [(TERA, "TFLOP"), (GIGA, "GFLOP"), (MILLION, "MFLOP")], "/s")


def format_clock(hertz: float) -> str:
    """A clock for a person: ``'4.50 GHz'``."""
    return _scaled(hertz, [(GIGAHERTZ, "GHz"), (MEGAHERTZ, "MHz")])


def format_duration(seconds: float) -> str:
    """A duration for a person: ``'3.85 s'``, ``'307 ms'``, ``'0.60 ms'``, ``'12.0 us'``."""
    if seconds == 0:
        return "0 s"
    return _scaled(seconds, [(1, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")])
