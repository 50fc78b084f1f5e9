"""Flags of a runtime as data, and a reader of a line of arguments."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isfinite
from typing import Any

from hwprofiles import InputError, closest

SWITCH_WORDS: Mapping[str, bool] = {
    "1": True,
    "on": True,
    "true": True,
    "enabled": True,
    "auto": True,
    "0": False,
    "off": False,
    "false": False,
    "disabled": False,
}
"""Words that may follow a switch, and the states that they stand for.

Servers and benchmarks of the llama.cpp family accept different ones of them.
"""


class Effect(StrEnum):
    """The effect of a flag on a prediction."""

    SETS = "sets"
    IGNORED = "ignored"
    REFUSED = "refused"


class Arity(StrEnum):
    """How many words follow a flag: none, one, or perhaps the state of a switch."""

    NONE = "none"
    ONE = "one"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag under all its names.

    ``key`` is the argument that it sets; ``read`` turns the word after it into a value. A flag with
    ``repeats`` collects its values in the order given; of any other, the last value counts.
    ``reason`` says why a refused flag cannot be priced.
    """

    names: tuple[str, ...]
    effect: Effect = Effect.SETS
    arity: Arity = Arity.ONE
    key: str = ""
    read: Callable[[str], Any] = str
    repeats: bool = False
    reason: str = ""


WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""The forms of numbers that every program reads."""

PROGRAM = re.compile(r"(^|[/\\])(llama-[a-z-]+|python[0-9.]*)(\.exe)?$")
"""The name of a program, which begins a line that was copied as a whole."""

WHERE_FLAGS_STAND = "docs/reference/runtimes.md lists those that are known"


@dataclass(frozen=True, slots=True)
class FlagTable:
    """The flags of one runtime by name, and the environment variables that stand for flags."""

    runtime: str
    flags: Mapping[str, Flag]
    variables: Mapping[str, Flag]


@dataclass(frozen=True, slots=True)
class ReadArguments:
    """The values that a line of arguments sets, and its flags that change no prediction."""

    values: Mapping[str, Any]
    ignored: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    """The values and ignored flags found so far in one line."""

    table: FlagTable
    values: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def take(self, name: str, flag: Flag, word: str | None) -> None:
        """Note one flag with the word that followed it.

        Raises InputError for a refused flag and for a word that does not fit.
        """
        if flag.effect is Effect.REFUSED:
            raise InputError(
                f"{self.table.runtime} argument {name}: {flag.reason}, so it cannot be predicted; leave it out"
            )
        if flag.effect is Effect.IGNORED:
            # Kept by name: users are told which of their words change nothing.
            self.ignored.append(name)
            return
        value = self._value(name, flag, word)
        if flag.repeats:
            self.values[flag.key] = (*self.values.get(flag.key, ()), value)
        else:
            self.values[flag.key] = value

    def _value(self, name: str, flag: Flag, word: str | None) -> Any:
        if word is None:
            # A flag alone turns its switch on.
            return flag.read("1")
        try:
            return flag.read(word)
        except ValueError as error:
            raise InputError(f"{self.table.runtime} argument {name} {word}: {error}") from None


def flag_table(runtime: str, flags: Sequence[Flag], variables: Mapping[str, str]) -> FlagTable:
    """Return the table of a runtime.

    ``variables`` maps each environment variable to the flag that it stands for.
    """
    by_name = {name: flag for flag in flags for name in flag.names}
    return FlagTable(
        runtime, by_name, {variable: by_name[name] for variable, name in variables.items()}
    )


def read_arguments(line: str, table: FlagTable) -> ReadArguments:
    """Read a line of arguments, split as a shell splits it.

    Leading ``NAME=value`` words are environment variables; the program's own name may follow them.
    Raises InputError, one line, for an unknown or refused flag, a missing or wrong value, or a
    quote that is not closed.
    """
    reading = _Reading(table)
    words = _words(line, table.runtime)
    while words and _is_assignment(words[0]):
        _take_variable(reading, words.pop(0))
    words = _without_program(words)
    while words:
        name, word = _pop_flag(words, table)
        reading.take(name, table.flags[name], word)
    # Each name once, in the order of the line.
    return ReadArguments(reading.values, tuple(dict.fromkeys(reading.ignored)))


def whole(text: str) -> int:
    """Return a whole number. Raises ValueError that says what is needed."""
    # Python alone reads 1_0 as ten, and digits of other scripts.
    if WHOLE.fullmatch(text) is None:
        raise ValueError("a whole number is needed")
    return int(text)


def decimal(text: str) -> float:
    """Return a finite number, with or without a point.

    Raises ValueError that says what is needed.
    """
    number = float(text) if DECIMAL.fullmatch(text) else inf
    if not isfinite(number):
        raise ValueError("a number is needed")
    return number


def count(text: str) -> int:
    """Return a whole number of at least 0. Raises ValueError that says what is needed."""
    number = whole(text)
    if number < 0:
        raise ValueError("a number of at least 0 is needed")
    return number


def positive(text: str) -> int:
    """Return a whole number of at least 1. Raises ValueError that says what is needed."""
    number = whole(text)
    if number < 1:
        raise ValueError("a number of at least 1 is needed")
    return number


def switch(text: str) -> bool:
    """Return the state of a switch. Raises ValueError that says what is needed."""
    if text.lower() not in SWITCH_WORDS:
        raise ValueError(f"one of {', '.join(SWITCH_WORDS)} is needed")
    return SWITCH_WORDS[text.lower()]


def no_switch(text: str) -> bool:
    """Return the opposite of the state of a switch, for a flag that turns something off."""
    return not switch(text)


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a reader that accepts one of these words, whatever their case."""

    def _read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)} is needed")
        return text.lower()

    return _read


def _words(line: str, runtime: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"{runtime} arguments {line!r}: {str(error).lower()}") from None


def _is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.replace("_", "a").isalnum() and not word.startswith("-")


def _without_program(words: list[str]) -> list[str]:
    """Return the words behind the name of a program.

    Names are, for example, ``./llama-server`` and ``python -m sglang.launch_server``.
    """
    if not words or PROGRAM.search(words[0]) is None:
        return words
    if "python" not in words[0]:
        return words[1:]
    return words[3:] if words[1:2] == ["-m"] else words[2:]


def _take_variable(reading: _Reading, word: str) -> None:
    """Note an environment variable; one that stands for no flag is noted as ignored."""
    name, _, value = word.partition("=")
    flag = reading.table.variables.get(name)
    if flag is None:
        reading.ignored.append(name)
        return
    reading.take(name, flag, value)


def _pop_flag(words: list[str], table: FlagTable) -> tuple[str, str | None]:
    """Take a flag, and the word that belongs to it if any, off the line.

    ``--name=value`` counts as two words. Raises InputError for an unknown flag or a missing value.
    """
    word = words.pop(0)
    if word.startswith("--") and "=" in word:
        word, _, value = word.partition("=")
        words.insert(0, value)
    if word not in table.flags:
        raise InputError(f"{table.runtime} argument {word}: {_why_unknown(word, table)}")
    flag = table.flags[word]
    if flag.arity is Arity.ONE and not words:
        raise InputError(f"{table.runtime} argument {word}: a value must follow")
    if flag.arity is Arity.ONE or (flag.arity is Arity.SWITCH and _has_state(flag, words, table)):
        return word, words.pop(0)
    return word, None


def _why_unknown(word: str, table: FlagTable) -> str:
    near = closest(word, table.flags)
    if "did you mean" in near:
        return f"unknown flag{near}"
    if not word.startswith("-"):
        return "no flag before it takes a value"
    # A list of all flags would fill the screen.
    return f"unknown flag; {WHERE_FLAGS_STAND}"


def _has_state(flag: Flag, words: Sequence[str], table: FlagTable) -> bool:
    """Whether the next word is the state of a switch.

    A switch that sets something takes any word that is no flag, so that a wrong state is refused.
    """
    if not words:
        return False
    is_flag = words[0].startswith("-") or words[0] in table.flags
    return words[0].lower() in SWITCH_WORDS or (flag.effect is Effect.SETS and not is_flag)
