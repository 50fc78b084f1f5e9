"""Rewriting parts, as people write them in posts and lists, into the grammar.

Examples: ``dual 3090s``, ``64GB (2x32GB) DDR5 6000MHz CL30``, ``RTX 3090 eGPU over OCuLink``.
"""

import re

from hwprofiles.parts.library import PartsLibrary

_COUNTS = {
    "one": 1,
    "single": 1,
    "two": 2,
    "dual": 2,
    "three": 3,
    "triple": 3,
    "four": 4,
    "quad": 4,
    "five": 5,
    "six": 6,
    "eight": 8,
    "octa": 8,
}
_COUNT_WORD = re.compile(
    rf"^(?P<word>{'|'.join(_COUNTS)})\s+(?!channel)(?=\S)|^dual-(?=xeon|epyc|socket)",
    re.IGNORECASE,
)
_COUNT_BEHIND = re.compile(
    r"^(?P<name>(?![\d.]+\s*(?:[gt]i?b|g)\b).*\S)\s+[x×]\s*(?P<count>\d{1,2})$", re.IGNORECASE
)
"""``RTX 3090 x4``: a count behind the name."""

_LINKS = (
    (re.compile(r"\b(?:oculink|thunderbolt[\s-]*5|tb5)\b", re.IGNORECASE), " PCIe 4 x4 "),
    (
        re.compile(r"\b(?:thunderbolt(?:[\s-]*[34])?|tb[34]|usb4)\b", re.IGNORECASE),
        " PCIe 3 x4 ",
    ),
)
"""Cables that carry PCIe, each with its PCIe generation and lanes.

OCuLink carries the lanes unchanged. Thunderbolt 3 and 4 and USB4 carry 32 Gbit/s of PCIe, as four
lanes of 3.0 do. Thunderbolt 5 carries 64 Gbit/s (specifications of Intel and USB-IF).
"""

_ASIDE = re.compile(
    r"\b(?:egpu|e-gpu|via|over|dock|used|refurbished|gpus?|cards?|vram|founders|fe|stock|each)\b"
    r"|\b(?:evga|asus|msi|gigabyte|zotac|pny|palit|gainward|sapphire|xfx|powercolor|inno3d)\b"
    r"|\b(?:tuf|rog(?:\s+strix)?|aorus|ftw3|gaming(?:\s+[xz])?|trio|ventus|suprim|eagle|windforce)\b"
    r"|\b(?:nitro|pulse|oc|modded|modified|gddr\dx?)\b"
    r"|\bmac(?:\s*(?:studio|mini|pro)|book(?:\s*(?:pro|air))?)\b(?:\s*1[3-6](?:\"|\s*inch|\b))?|\bimac\b",
    re.IGNORECASE,
)
"""Words beside a name that are no part of it, such as who built the card or how it was bought."""

_LABEL = re.compile(
    r"^(?:cpu|gpus?|processor|(?:graphics|video)(?:\s+cards?)?)\s*:\s*", re.IGNORECASE
)
"""A label before a part in a list: ``GPU: 2x RTX 3090``."""

_LAPTOP = re.compile(r"(?:laptop|mobile)\s+(?P<name>.*\w.*)", re.IGNORECASE)
"""``laptop RTX 4060 8GB``: a word that cards have behind their names, and CPUs not at all."""

_CORES = re.compile(r"\([^()]*\bcores?\b[^()]*\)", re.IGNORECASE)
"""Brackets that count cores, as people tell Apple's chips apart. The name alone decides the
part.
"""

_SHOP = re.compile(
    r"\b(?:ecc|reg|registered|unbuffered|memory|kit|total|sticks?|of|at|system|installed|soldered"
    r"|unified|(?:mr|lr|cu|so-?|r|u)?dimms?|ram)\b(?!-\d)"
    r"|\bcl\s*-?\d+\b|\b[12]rx\d\b|\b[12]dpc\b|@",
    re.IGNORECASE,
)
"""Words beside the kind of a module, such as ``ECC`` or ``CL30``. None of them changes a stated
rate.
"""
_MRDIMM = re.compile(r"\bmrdimm(?=-\d)", re.IGNORECASE)
_CHANNELS = re.compile(
    r"\b(?:(?P<number>\d{1,2})|(?P<word>single|dual|triple|quad|six|octa|eight))[\s-]*"
    r"(?:channels?|ch)\b",
    re.IGNORECASE,
)
_TYPE = re.compile(r"\b(?P<type>(?:lp)?ddr\dx?)", re.IGNORECASE)
_SPEED = re.compile(
    r"\b(?P<speed>\d{3,6})\s*(?P<unit>mhz|mt/?s)?(?![\w.])(?!\s*[gt]i?b)", re.IGNORECASE
)
_MODULES = re.compile(
    r"(?<![\w.])(?P<count>\d{1,2})\s*[x×*]\s*(?P<gib>\d{1,4})\s*(?P<unit>gb|gib|g)?\b",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"(?<![\w.])(?P<size>\d{1,4}(?:\.\d{1,2})?)\s*(?P<unit>tb|tib|gb|gib|gigs?|g)\b", re.IGNORECASE
)
_GIB_PER_TIB = 1024


def without_cores(text: str) -> str:
    """The line without brackets that count cores."""
    return _CORES.sub(" ", text)


def plain_device(part: str) -> str:
    """Return the part with its cable as PCIe, and without a label and words that are not its
    name.
    """
    part = _LABEL.sub("", part)
    for cable, link in _LINKS:
        part = cable.sub(link, part)
    # Never everything: a part of nothing but such words is to be named as it is.
    bare = " ".join(_ASIDE.sub(" ", part).split())
    return bare if re.search(r"\w", bare) else part


def laptop_last(name: str, library: PartsLibrary) -> str:
    """Return the name with ``Laptop`` behind it if it begins with that word or with ``mobile``.

    A CPU's name has no such word, so there it is left out.
    """
    found = _LAPTOP.fullmatch(name)
    if found is None:
        return name
    is_cpu = any(known not in library.gpus for known in library.named(found["name"]))
    return found["name"] if is_cpu else f"{found['name']} Laptop"


def singular(name: str, count: int) -> str:
    """Return the name without its plural s, as in ``2x 3090s``, where ``count`` is above 1."""
    return re.sub(r"(?<=\w)s$", "", name, flags=re.IGNORECASE) if count > 1 else name


def count_first(part: str) -> str:
    """Return the part with its count in front, as ``2xNAME``, where it has one. The caller has
    taken the link out.
    """
    word = _COUNT_WORD.match(part)
    if word is not None:
        count = _COUNTS[word["word"].lower()] if word["word"] else 2
        return f"{count}x{part[word.end() :]}"
    behind = _COUNT_BEHIND.match(part)
    return part if behind is None else f"{behind['count']}x{behind['name']}"


def plain_memory(part: str) -> str | None:
    """Return the part as ``[Nx]SIZE [TYPE[-SPEED]]``; None where it is not memory or contradicts
    itself.

    ``8-channel`` beside a total stands for 8 equal modules. Beside a kind or a speed alone, it
    stands for 8 modules of unknown size, ``8x?GB``.
    """
    text = _SHOP.sub(" ", _MRDIMM.sub("DDR5", part))
    is_said = re.search(r"\b(?:ram|memory|dimms?)\b", part, re.IGNORECASE) is not None
    text, channels = _taken(_CHANNELS, text)
    text, kind = _taken(_TYPE, text)
    text, modules = _taken(_MODULES, text)
    text, total = _taken(_TOTAL, text)
    text, speed = _taken(_SPEED, text)
    if re.search(r"[^\s()\[\],;:-]", text):
        return None
    if modules is None and total is None:
        return _of_unknown_size(channels, kind, speed)
    # "3060 12GB" and "2x 3090" are cards: a bare number is a speed or a size only beside a word.
    if speed is not None and not (kind or is_said or speed["unit"]):
        return None
    if modules is not None and not (modules["unit"] or kind) and total is None:
        return None
    gib = None if total is None else _gib(total)
    if total is not None and gib is None:
        return None
    if modules is not None:
        if gib is not None and gib != int(modules["count"]) * int(modules["gib"]):
            return None
        size = f"{modules['count']}x{modules['gib']}GB"
    else:
        size = _over_channels(gib or 0, channels)
    return f"{size}{_kind_and_speed(kind, speed)}"


def _of_unknown_size(
    channels: re.Match[str] | None, kind: re.Match[str] | None, speed: re.Match[str] | None
) -> str | None:
    """Return ``8 channel DDR4 3200`` as ``8x?GB DDR4-3200``.

    None without channels, as a kind or a speed alone may be of anything, and None for channels
    alone.
    """
    if channels is None or (kind is None and speed is None):
        return None
    return f"{_count_of(channels)}x?GB{_kind_and_speed(kind, speed)}"


def _kind_and_speed(kind: re.Match[str] | None, speed: re.Match[str] | None) -> str:
    named = "" if kind is None else f" {kind['type'].upper()}"
    rate = "" if speed is None else f"{'-' if named else ' '}{speed['speed']}"
    return f"{named}{rate}"


def _gib(total: re.Match[str]) -> int | None:
    """The size in GiB; None where it is not a whole number."""
    size = float(total["size"])
    if total["unit"].lower().startswith("t"):
        # A terabyte of memory is 1,024 GB of modules, 1.5 of them 1,536.
        size *= _GIB_PER_TIB
    return int(size) if size.is_integer() else None


def _over_channels(gib: int, channels: re.Match[str] | None) -> str:
    if channels is None:
        return f"{gib}GB"
    count = _count_of(channels)
    return f"{gib}GB" if count < 1 or gib % count else f"{count}x{gib // count}GB"


def _count_of(channels: re.Match[str]) -> int:
    number = channels["number"]
    return int(number) if number else _COUNTS[channels["word"].lower()]


def _taken(pattern: re.Pattern[str], text: str) -> tuple[str, re.Match[str] | None]:
    """Return the text without the first match of the pattern, and the match."""
    match = pattern.search(text)
    if match is None:
        return text, None
    return f"{text[: match.start()]} {text[match.end() :]}", match
