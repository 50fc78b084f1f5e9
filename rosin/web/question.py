"""The page's question: read from a link, written to a link, with the mistakes of each field."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from hwprofiles import InputError, Machine, load_machine, names_machine_file
from hwprofiles.errors import one_line, shortened
from planner.runtimes.search import WAYS
from planner.search.setting import Setting
from rosin.report.sliders import LOAD_NUMBERS, PC_NUMBERS, overrides_of, own_numbers, shown
from sim.model.library import load_model, model_names

EXAMPLE_PC = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"
MAX_TEXT = 2_000
"""The most characters of one field; a line of parts is far shorter."""
MAX_MOVED = 1e6
"""The largest number of the PC, in its unit; no machine comes near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """The machine, the model and the format that the page starts with.

    A file among them is offered besides the names of the libraries.
    """

    machine: str = EXAMPLE_PC
    model: str = "qwen3-30b-a3b"
    quantization: str = "Q4_K_M"

    @property
    def models(self) -> list[str]:
        """Return the models of the library, after the model that the page was started with."""
        own = [] if self.model in model_names() else [self.model]
        return [*own, *model_names()]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuestion:
    """One state of the page.

    A number of the PC is None if nobody moved it. ``room_tokens`` is None if the context needs room
    only for the prompt and the answer.
    """

    machine: str
    model: str
    quantization: str
    runtime: str = "llama.cpp"
    vram_gib: float | None = None
    ram_gib: float | None = None
    link_gb_per_s: float | None = None
    dram_gb_per_s: float | None = None
    prompt_tokens: int = 2_000
    output_tokens: int = 300
    room_tokens: int | None = None
    batch_size: int = 1
    other: str = ""
    upgrades: str = ""

    @property
    def link(self) -> str:
        """Return the query of the page's link, which follows the question mark."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        said |= {name: f"{value:g}" for name, value in self.moved.items()}
        # Empty fields are left out, so that a link says only what was chosen.
        return urlencode({name: value for name, value in said.items() if value not in (None, "")})

    @property
    def moved(self) -> dict[str, float]:
        """Return the numbers of the PC that were moved, by name."""
        values = {number.name: getattr(self, number.name) for number in PC_NUMBERS}
        return {name: value for name, value in values.items() if value is not None}

    def loaded_machine(self) -> Machine:
        """Return the PC before any number was moved."""
        return load_machine(self.machine)

    @property
    def setting(self) -> Setting:
        """Return the setting of a plan for a runtime."""
        return self._setting(overrides_of(self.loaded_machine(), self.moved))

    @property
    def simulated_setting(self) -> Setting:
        """Return the setting of a search of all policies.

        The search reads the effective rate of main memory, and a runtime's plan reads the listed
        rate. A moved rate is therefore scaled by the machine's own ratio of the two.
        """
        machine = self.loaded_machine()
        moved = self.moved
        listed = machine.cpu.memory_bytes_per_s
        if "dram_gb_per_s" in moved:
            moved["dram_gb_per_s"] *= listed.effective / listed.value
        return self._setting(overrides_of(machine, moved)).model_copy(
            update={"batch_size": self.batch_size}
        )

    def _setting(self, overrides: tuple[str, ...]) -> Setting:
        return Setting(
            model=self.model,
            machine=self.machine,
            quantization=self.quantization or None,
            machine_overrides=overrides,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
        )

    def on(self, machine: str, overrides: tuple[str, ...] | None = None) -> Setting:
        """The setting of another PC under the same load."""
        return replace(self, machine=machine)._setting(overrides or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadQuestion:
    """A question as far as it could be read, and the mistakes by field.

    ``has_new_machine``: the numbers in the link belong to another PC, and were left out.
    """

    question: PageQuestion
    problems: Mapping[str, str]
    has_new_machine: bool


def read_question(said: Mapping[str, str], offered: Offered) -> ReadQuestion:
    """Read a link without raising errors.

    Mistakes stand in ``problems`` by field; the field of a mistake keeps its first value.
    """
    problems: dict[str, str] = {}
    values: dict[str, Any] = _texts(said, offered, problems)
    machine = _machine(values["machine"], offered, problems)
    # Only the mistakes are of use here: the other PC is loaded again when it is planned.
    if values["other"]:
        _machine(values["other"], offered, problems, "other")
    _check_model(values, offered, problems)
    # Numbers come with the PC that they are of; a link that was written by hand names none.
    is_new = said.get("numbers_of", values["machine"]) != values["machine"]
    for load in LOAD_NUMBERS:
        text = said.get(load.name, "").strip()
        if text:
            values[load.name] = _whole(text, load.name, problems, load.first)
    if machine is not None and not is_new:
        values |= _moved(said, machine, problems)
    known = {name: value for name, value in values.items() if value is not None}
    return ReadQuestion(question=PageQuestion(**known), problems=problems, has_new_machine=is_new)


def _texts(
    said: Mapping[str, str], offered: Offered, problems: dict[str, str]
) -> dict[str, str | None]:
    """The fields that are text, at most MAX_TEXT characters each."""
    first = {
        "machine": offered.machine,
        "model": offered.model,
        "quantization": offered.quantization,
        "runtime": "llama.cpp",
        "other": "",
        "upgrades": "",
    }
    found: dict[str, str | None] = {}
    for name, usual in first.items():
        text = said.get(name, usual).strip()
        if len(text) > MAX_TEXT:
            problems[name] = f"at most {MAX_TEXT:,} characters, got {len(text):,}"
            text = usual
        found[name] = text
    if found["runtime"] not in WAYS:
        problems["runtime"] = f"plans are made for {', '.join(WAYS)}"
        found["runtime"] = "llama.cpp"
    if not found["machine"]:
        problems["machine"] = f"name a PC, for example {EXAMPLE_PC}"
    return found


def _machine(
    name: str, offered: Offered, problems: dict[str, str], field: str = "machine"
) -> Machine | None:
    """Return the PC of that name or line; a mistake is noted in ``problems``.

    The page reads no machine file but the one that it was started with.
    """
    if field in problems:
        return None
    if name != offered.machine and names_machine_file(name):
        problems[field] = f"{shortened(name)} is a file; start the page with it: --machine FILE"
        return None
    try:
        return load_machine(name)
    except InputError as error:
        problems[field] = one_line(str(error))
        return None


def _check_model(values: dict[str, Any], offered: Offered, problems: dict[str, str]) -> None:
    """Note an unknown model or format in ``problems``.

    Only models of the library, and the model of the start, are loaded. Any other name would be
    taken for a file.
    """
    if values["model"] not in offered.models:
        problems["model"] = f"no model named {shortened(values['model'])}"
        return
    try:
        load_model(values["model"], values["quantization"] or None)
    except InputError as error:
        problems["quantization"] = one_line(str(error))


def _moved(said: Mapping[str, str], machine: Machine, problems: dict[str, str]) -> dict[str, float]:
    """The numbers of the PC that differ from its own as the page shows them."""
    own = own_numbers(machine)
    found = {}
    for name, value in own.items():
        text = said.get(name, "").strip()
        # Fields show rounded numbers, so one that reads like the PC's own was not moved.
        if not text or text == shown(value):
            continue
        number = _number(text)
        if number is None or not 0 < number <= MAX_MOVED:
            problems[name] = f"a number above 0 and at most {MAX_MOVED:,.0f}, got {shortened(text)}"
        else:
            found[name] = number
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole(text: str, name: str, problems: dict[str, str], usual: int | None) -> int | None:
    """Return the whole number in a field; for a mistake, note it and return ``usual``."""
    # The room for a context is no field of a setting; it is limited like a prompt.
    limit = Setting.model_fields.get(name) or Setting.model_fields["prompt_tokens"]
    most = next(each.le for each in limit.metadata if hasattr(each, "le"))
    # Twelve digits are above every limit, and int() refuses texts of thousands of digits.
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    if 1 <= number <= most:
        return number
    problems[name] = f"a whole number from 1 to {most:,}, got {shortened(text)}"
    return usual
