"""Lists of modules in quantisation settings: exact names, parts of names, globs and regular
expressions.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator

from hwprofiles import InputError
from sim.model.importers.config_keys import ConfigKeys, shown

_WRAPPERS = frozenset({"model", "language_model", "text_model"})
_REGEX = "re:"


class ModuleNames:
    """The modules that a list names. A name stands for the module and all within it."""

    def __init__(self, keys: ConfigKeys, key: str, names: Iterable[object]) -> None:
        """Raises InputError for an entry that is no name, or a broken regular expression."""
        self._exact: set[tuple[str, ...]] = set()
        self._patterns: list[re.Pattern[str]] = []
        globs: list[str] = []
        for name in names:
            if not isinstance(name, str):
                raise keys.error(key, f"must list names of modules, got {shown(name)}")
            if name.startswith(_REGEX):
                self._patterns.append(_compiled(keys, key, name.removeprefix(_REGEX)))
            elif "*" in name:
                globs.append(fnmatch.translate(name))
            else:
                self._exact.add(_components(name))
        if globs:
            # One expression for all globs: lists of thousands are compared with thousands of
            # modules.
            self._patterns.append(re.compile("|".join(globs)))

    def has(self, module: str) -> bool:
        """Whether the list names the module, one that holds it, or a part of its name."""
        parts = _components(module)
        # A set of whole runs of parts: "mlp" names no "mlp2", as a part of the text would.
        if any(run in self._exact for run in _runs(parts)):
            return True
        names = list(_spellings(parts))
        return any(pattern.match(name) for pattern in self._patterns for name in names)


def _compiled(keys: ConfigKeys, key: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"{keys.where}: key {keys.prefix}{key} has a broken regular expression {shown(pattern)}: {shown(str(error))}"
        ) from None


def _components(name: str) -> tuple[str, ...]:
    """The parts of a name, without a language model's wrappers in front and without ``.weight``.

    MLX holds all experts of a layer in one module ``switch_mlp``; that module stands for the first
    expert.
    """
    plain = name.removesuffix(".weight").strip(".").replace(".switch_mlp", ".experts.0")
    parts = plain.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return tuple(parts)


def _runs(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield all runs of parts that follow each other in a name."""
    for start in range(len(parts)):
        for stop in range(start + 1, len(parts) + 1):
            yield parts[start:stop]


def _spellings(parts: tuple[str, ...]) -> Iterator[str]:
    """The module and those that hold it, as checkpoints with and without a wrapper spell them."""
    for stop in range(len(parts), 0, -1):
        name = ".".join(parts[:stop])
        yield name
        yield f"model.{name}"
        yield f"model.language_model.{name}"
        yield f"language_model.model.{name}"
