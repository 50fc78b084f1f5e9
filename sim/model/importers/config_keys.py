"""Reading keys of a Hugging Face config.json: aliases, types, ranges, and errors that name file and
key.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hwprofiles import InputError
from sim.model.importers.config_limits import largest

Meaning = TypeVar("Meaning")

_SHOWN_CHARACTERS = 40
_TEXT_PARTS = ("text_config", "llm_config", "language_config")
"""Keys under which multimodal configurations nest the configuration of their language model."""

_SYNONYMS = {
    "d_model": "hidden_size",
    "max_seq_len": "max_position_embeddings",
    "tie_embedding": "tie_word_embeddings",
    "attention_head_dim": "head_dim",
}
"""Names that DBRX, LFM2 and Nemotron-H give to keys of all families."""


class ConfigKeys:
    """The keys of one configuration. Errors name the configuration by ``where``, and its section by
    ``prefix``.

    A key that is absent or null is missing: class defaults of any library are not facts of the
    model. The keys of a nested ``text_config`` stand before those of the top level. ``used`` has
    the names of all keys that anybody asked for.
    """

    def __init__(self, config: Mapping[str, Any], where: str, prefix: str = "") -> None:
        """Raises InputError where a nested text part is no mapping, or where two names of one key
        differ.
        """
        self.where = where
        self.prefix = prefix
        self.used: set[str] = set()
        self.names_of_text: frozenset[str] = frozenset()
        self._config = {**config, **self._renamed(config)}
        for part in _TEXT_PARTS:
            nested = config.get(part)
            if nested is None:
                continue
            if not isinstance(nested, Mapping):
                raise self.error(part, f"must be a mapping, got {shown(nested)}")
            # A null of the text part must not hide a value of the top level.
            stated = {name: value for name, value in nested.items() if value is not None}
            self._config |= stated
            self.names_of_text = frozenset(stated)
            self.used.add(part)

    def _renamed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys that some families name otherwise, under the usual names.

        Raises InputError where both names are there and differ.
        """
        found = {}
        for own, usual in _SYNONYMS.items():
            if config.get(own) is None:
                continue
            # Which of two that differ is meant cannot be known.
            if config.get(usual) not in (None, config[own]):
                raise self.error(
                    own, f"must equal {usual}, got {shown(config[own])} and {shown(config[usual])}"
                )
            found[usual] = config[own]
            self.used.add(own)
        return found

    def error(self, name: str, problem: str) -> InputError:
        """Return the error that names the file, the key and what is wrong with it."""
        return InputError(f"{self.where}: key {self.prefix}{name} {problem}")

    def stated(self) -> Mapping[str, Any]:
        """All keys that are not null, with their values."""
        return {name: value for name, value in self._config.items() if value is not None}

    def fill(self, defaults: Mapping[str, int]) -> None:
        """Set those values for keys that are absent or null."""
        for name, value in defaults.items():
            if self._config.get(name) is None:
                self._config[name] = value

    def has(self, *names: str) -> bool:
        """Whether one of the keys is present and not null."""
        self.used.update(names)
        return any(self._config.get(name) is not None for name in names)

    def value(self, *names: str) -> Any:
        """The value of the first of the keys that is present. Raises InputError when none is."""
        # All names that were asked for count as read, also those after the first that is there:
        # another name of a key that is read must not be refused as unread.
        self.used.update(names)
        for name in names:
            if self._config.get(name) is not None:
                return self._config[name]
        others = f" (or {', '.join(names[1:])})" if names[1:] else ""
        raise InputError(f"{self.where}: key {self.prefix}{names[0]}{others} is missing")

    def count(self, *names: str) -> int:
        """Return the value, a positive integer. Raises InputError when it is missing or anything
        else.
        """
        return self._integer(self.value(*names), self._present(names), minimum=1)

    def count_or(self, default: int, *names: str) -> int:
        """Return the value, a non-negative integer, or the default where the key is missing or
        null.
        """
        if not self.has(*names):
            return default
        return self._integer(self.value(*names), self._present(names), minimum=0)

    def flag(self, name: str) -> bool:
        """Return the value, true or false. Raises InputError when it is missing or anything
        else.
        """
        value = self.value(name)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, got {shown(value)}")
        return value

    def flag_or(self, default: bool, name: str) -> bool:
        """Return the value, true or false, or the default where the key is missing or null."""
        return self.flag(name) if self.has(name) else default

    def text(self, *names: str) -> str:
        """Return the value, a string. Raises InputError when it is missing or anything else."""
        value = self.value(*names)
        if not isinstance(value, str):
            raise self.error(self._present(names), f"must be a word, got {shown(value)}")
        return value

    def items(self, name: str) -> list[Any]:
        """Return the value, a list. Raises InputError when it is missing or anything else."""
        value = self.value(name)
        if not isinstance(value, list | tuple):
            raise self.error(name, f"must be a list, got {shown(value)}")
        return list(value)

    def per_layer(self, name: str, num_layers: int) -> list[Any]:
        """Return the list of that key, one entry a layer. Raises InputError for another length."""
        items = self.items(name)
        if len(items) != num_layers:
            raise self.error(
                name,
                f"must have one entry for each of the {num_layers} layers, got {len(items)}",
            )
        return items

    def first_layers(self, name: str, num_layers: int) -> list[Any]:
        """Return the first ``num_layers`` entries of a list, one a layer. Raises InputError for a
        shorter list.

        Entries of layers that predict further tokens may follow; they are left out.
        """
        items = self.items(name)
        if len(items) < num_layers:
            raise self.error(
                name, f"must have an entry for each of the {num_layers} layers, got {len(items)}"
            )
        return items[:num_layers]

    def meant(
        self, name: str, items: Iterable[Any], meanings: Mapping[Any, Meaning]
    ) -> list[Meaning]:
        """Return the meaning of each item. Raises InputError, with the key, for an item that has no
        meaning.
        """
        found = []
        for item in items:
            # True equals 1 in Python, but is no number here; a list cannot be looked up.
            if type(item) not in (int, str) or item not in meanings:
                known = ", ".join(map(str, meanings))
                raise self.error(name, f"may hold {known}, got {shown(item)}")
            found.append(meanings[item])
        return found

    def layer_kinds(
        self, name: str, num_layers: int, meanings: Mapping[Any, Meaning]
    ) -> list[Meaning]:
        """Return the meanings of a list of one entry a layer. Raises InputError as ``per_layer``
        and ``meant`` do.
        """
        return self.meant(name, self.per_layer(name, num_layers), meanings)

    def layer_indices(self, name: str, num_layers: int) -> frozenset[int]:
        """Return the layer indices of a list. Raises InputError for an index outside the model."""
        for item in self.items(name):
            if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < num_layers:
                raise self.error(
                    name, f"must list layers from 0 to {num_layers - 1}, got {shown(item)}"
                )
        return frozenset(self.items(name))

    def section(self, name: str) -> "ConfigKeys":
        """The keys of a nested mapping. Raises InputError when it is missing or anything else."""
        value = self.value(name)
        if not isinstance(value, Mapping):
            raise self.error(name, f"must be a mapping, got {shown(value)}")
        return ConfigKeys(value, self.where, prefix=f"{self.prefix}{name}.")

    def _present(self, names: tuple[str, ...]) -> str:
        return next(name for name in names if self._config.get(name) is not None)

    def _integer(self, value: Any, name: str, minimum: int) -> int:
        # True is an int in Python, but no count in a configuration.
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self.error(name, f"must be an integer of at least {minimum}, got {shown(value)}")
        if value > largest(name):
            raise self.error(name, f"must be at most {largest(name):,}, got {shown(value)}")
        return value


def shown(value: object) -> str:
    """A value as an error shows it: on one line, cut where it is long."""
    try:
        text = repr(value)
    # Python refuses to print an integer of thousands of digits, and what is nested too deep.
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
