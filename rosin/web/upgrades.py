"""Upgrades: the PC with one part changed, planned anew, with the price that the user gave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from hwprofiles import InputError, Machine, machine_names
from hwprofiles.errors import one_line
from hwprofiles.parts import GpuPart, PartsLibrary, parts_library
from hwprofiles.parts.line import MemoryModules, PartsLine, parse_line
from hwprofiles.units import GIB
from rosin.report.sliders import PC_NUMBERS
from rosin.web.answering import NoAnswer, PageAnswer, answer_for
from rosin.web.question import PageQuestion

MAX_OFFERS = 12
"""The most offers in a table; each takes a plan, and the table should take seconds, not minutes."""
MAX_GPUS = 6
"""The most cards that are offered if the user names nothing."""
TWICE = 2.0
PRICED = 100.0
"""The amount of the user's money for which a gain in speed is stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One thing to buy: words, the PC with it, and its price.

    ``overrides`` change numbers of a PC that is no line of parts.
    """

    words: str
    machine: str
    overrides: tuple[str, ...] = ()
    price: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRow:
    """The plan on the changed PC; without a plan, only words, machine, price and reason are set.

    ``gain_fraction`` is the speed of the whole answer over today's, less 1.
    ``tokens_per_s_per_price`` is the gain in tokens a second for each hundred of the price.
    """

    words: str
    machine: str
    price: float | None
    decode_tokens_per_s: float | None = None
    prefill_tokens_per_s: float | None = None
    end_to_end_s: float | None = None
    gain_fraction: float | None = None
    tokens_per_s_per_price: float | None = None
    reason: str | None = None


def offer_rows(question: PageQuestion) -> tuple[list[OfferRow], list[str]]:
    """Plan every offer; return the rows, the largest gain first, and the lines not understood.

    Offers without a plan come last. Moved numbers are ignored, since an offer is a real part.
    """
    offers, problems = offers_of(question)
    today = answer_for(question, question.machine)
    rows = [_row(offer, question, today) for offer in offers]
    rows.sort(key=lambda row: (row.gain_fraction is None, -(row.gain_fraction or 0.0)))
    return rows, problems


def offers_of(question: PageQuestion) -> tuple[list[Offer], list[str]]:
    """Return the user's own offers, or the usual ones, and a message for each wrong line."""
    library = parts_library()
    line = parts_of(question.machine, library)
    lines = [text for text in question.upgrades.splitlines() if text.strip()]
    if not lines:
        usual = _numbers(question.loaded_machine(), question.machine)
        return list(usual if line is None else _usual(line, library)), []
    if line is None:
        return [], ["parts can be changed where the PC is written as a line of parts"]
    found: list[Offer] = []
    problems: list[str] = []
    for text in lines[:MAX_OFFERS]:
        try:
            found.append(_offer(text, line, library))
        except InputError as error:
            problems.append(one_line(str(error)))
    if len(lines) > MAX_OFFERS:
        problems.append(f"the first {MAX_OFFERS} lines are looked at, {len(lines)} are there")
    return found, problems


def parts_of(machine: str, library: PartsLibrary) -> PartsLine | None:
    """Return the parts of a PC's line; None for a name or a file."""
    if machine in machine_names():  # such as h100, which a part may be called, too
        return None
    try:
        return parse_line(machine, library)
    except InputError:
        return None


def _offer(text: str, line: PartsLine, library: PartsLibrary) -> Offer:
    """Read ``part = price`` or ``part``; a card after ``+`` is added, not exchanged."""
    words, _, price = text.partition("=")
    words = words.strip()
    part = parse_line(words.removeprefix("+"), library)
    named = [part.gpus, part.cpu, part.memory, part.disk]
    if sum(bool(each) for each in named) != 1:
        raise InputError(f"{words!r}: one part on each line, as RTX 4090 = 1600")
    gpus = (*line.gpus, *part.gpus) if words.startswith("+") else part.gpus or line.gpus
    changed = replace(
        line,
        gpus=gpus,
        cpu=part.cpu or line.cpu,
        memory=part.memory or line.memory,
        disk=part.disk or line.disk,
    )
    return Offer(words=words, machine=_text(changed), price=_price(words, price))


def _price(words: str, text: str) -> float | None:
    bare = text.strip().lstrip("$€£").replace(",", "")
    if not bare:
        return None
    try:
        price = float(bare)
    # A price of 0 is refused below, with the words that were typed.
    except ValueError:
        price = 0.0
    if not (isfinite(price) and price > 0):
        raise InputError(f"{words!r}: a price is a number above 0, got {text.strip()!r}")
    return price


def _usual(line: PartsLine, library: PartsLibrary) -> Iterator[Offer]:
    """Yield the next better cards, twice the memory, and the CPU's fastest listed memory."""
    for part in _better_gpus(line, library):
        sizes = library.gpus[part.name]
        size = f" {part.memory_bytes // GIB}GB" if len(sizes) > 1 else ""
        item = parse_line(part.name + size, library).gpus
        yield Offer(words=part.name + size, machine=_text(replace(line, gpus=item)))
    for words in _memories(line, library):
        memory = parse_line(words, library).memory
        yield Offer(words=words, machine=_text(replace(line, memory=memory)))


def _better_gpus(line: PartsLine, library: PartsLibrary) -> Sequence[GpuPart]:
    """Return better cards of the same product line, the smallest steps first.

    A better card has no less memory, and no slower memory. A machine with several cards, or with
    memory shared by CPU and GPU, gets none.
    """
    if len(line.gpus) != 1 or line.gpus[0].count > 1:
        return []
    own = _gpu_part(line, library)
    brand = _brand(own)
    found = [
        part
        for sizes in library.gpus.values()
        for part in sizes
        if _brand(part) == brand and not part.is_unified and _is_better(part, own)
    ]
    # Many cards have equal memory, or an equal rate; the product of both tells them apart.
    found.sort(key=lambda part: part.memory_bytes * part.memory_bytes_per_s)
    return [] if own.is_unified else found[:MAX_GPUS]


def _gpu_part(line: PartsLine, library: PartsLibrary) -> GpuPart:
    item = line.gpus[0]
    sizes = library.gpus[item.name]
    if item.memory_gib is None:
        return sizes[0]
    # A modified card has twice a size that is sold: what is better is held against the sold one.
    sold = [item.memory_gib, item.memory_gib // 2]
    return next(part for part in sizes if part.memory_bytes // GIB in sold)


def _brand(part: GpuPart) -> tuple[str, bool]:
    """Return a card's product line: its name without numbers, and whether it is a laptop card."""
    words = part.name.split()
    # Two words are the brand, such as GeForce RTX; a third is a variant, such as Ti.
    brand = [word for word in words if not any(letter.isdigit() for letter in word)][:2]
    return " ".join([part.maker, *brand[:2]][:3]), "laptop" in part.name.lower()


def _is_better(part: GpuPart, own: GpuPart) -> bool:
    mine = (own.memory_bytes, own.memory_bytes_per_s)
    other = (part.memory_bytes, part.memory_bytes_per_s)
    return other != mine and all(new >= old for new, old in zip(other, mine, strict=True))


def _memories(line: PartsLine, library: PartsLibrary) -> Iterator[str]:
    memory = line.memory
    # Memory that was not written as modules has none to exchange.
    if memory is None or memory.modules is None or memory.module_gib is None:
        return
    yield _memory_words(memory, memory.module_gib * 2, memory.mt_per_s)
    cpu = library.cpus[line.cpu.name] if line.cpu is not None else None
    fastest = None if cpu is None or cpu.memory != memory.type_name else cpu.mt_per_s
    if fastest is not None and memory.mt_per_s is not None and fastest > memory.mt_per_s:
        yield _memory_words(memory, memory.module_gib, fastest)


def _memory_words(memory: MemoryModules, gib: int, mt_per_s: int | None) -> str:
    kind = "" if memory.type_name is None else f" {memory.type_name}"
    speed = "" if mt_per_s is None else f"{'-' if kind else ' '}{mt_per_s}"
    words = f"{memory.modules}x{gib}GB{kind}{speed}"
    return words if memory.sockets is None else f"{memory.sockets}x({words})"


def _numbers(machine: Machine, name: str) -> Iterator[Offer]:
    """Twice of each number, for a PC whose parts are not known."""
    for number in PC_NUMBERS:
        own = number.own(machine)
        if own is not None:
            yield Offer(
                words=f"{number.label}: twice as much",
                machine=name,
                overrides=number.overrides(machine, own * TWICE),
            )


def _text(line: PartsLine) -> str:
    """The line that names the parts."""
    items = [*line.gpus, line.cpu, line.memory, line.disk]
    return " + ".join(item.text for item in items if item is not None)


def _row(offer: Offer, question: PageQuestion, today: PageAnswer | NoAnswer) -> OfferRow:
    answer = answer_for(question, offer.machine, offer.overrides)
    row = OfferRow(words=offer.words, machine=offer.machine, price=offer.price)
    if isinstance(answer, NoAnswer):
        return replace(row, reason=answer.reason)
    after = answer.result.predicted
    row = replace(
        row,
        decode_tokens_per_s=after.decode.tokens_per_s,
        prefill_tokens_per_s=after.prefill.tokens_per_s,
        end_to_end_s=after.end_to_end_s,
    )
    if isinstance(today, NoAnswer):
        return row
    before = today.result.predicted
    added = after.output_tokens_per_s - before.output_tokens_per_s
    return replace(
        row,
        gain_fraction=before.end_to_end_s / after.end_to_end_s - 1,
        tokens_per_s_per_price=None if offer.price is None else PRICED * added / offer.price,
    )
