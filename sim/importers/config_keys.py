"""Reading keys of a Hugging Face config.json: aliases, types, and errors that name file and key."""

from collections.abc import Mapping
from typing import Any

from hwprofiles import InputError


class ConfigKeys:
    """The keys of one configuration; ``where`` names it in errors.

    A key that is absent or null is missing: class defaults of any library are not facts of the model.
    The keys of a nested ``text_config`` stand before those of the top level.
    """

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        """Raises InputError when ``text_config`` is there and no mapping."""
        nested = config.get("text_config")
        if nested is not None and not isinstance(nested, Mapping):
            raise InputError(f"{where}: key text_config must be a mapping, got {nested!r}")
        self._config = {**config, **(nested or {})}
        self.where = where

    def has(self, *names: str) -> bool:
        """Whether one of the keys is present and not null."""
        return any(self._config.get(name) is not None for name in names)

    def value(self, *names: str) -> Any:
        """The value of the first of the keys that is present. Raises InputError when none is."""
        for name in names:
            if self._config.get(name) is not None:
                return self._config[name]
        others = f" (or {', '.join(names[1:])})" if names[1:] else ""
        raise InputError(f"{self.where}: key {names[0]}{others} is missing")

    def count(self, *names: str) -> int:
        """A positive integer. Raises InputError when it is missing or anything else."""
        return self._integer(self.value(*names), self._present(names), minimum=1)

    def count_or(self, default: int, *names: str) -> int:
        """A non-negative integer, or the default where the key is missing or null."""
        return self._integer(self.value(*names), self._present(names), minimum=0) if self.has(*names) else default

    def flag(self, name: str) -> bool:
        """A true or false. Raises InputError when it is missing or anything else."""
        value = self.value(name)
        if not isinstance(value, bool):
            raise InputError(f"{self.where}: key {name} must be true or false, got {value!r}")
        return value

    def flag_or(self, default: bool, name: str) -> bool:
        """A true or false, or the default where the key is missing or null."""
        return self.flag(name) if self.has(name) else default

    def items(self, name: str) -> list[Any]:
        """A list. Raises InputError when it is missing or anything else."""
        value = self.value(name)
        if not isinstance(value, list | tuple):
            raise InputError(f"{self.where}: key {name} must be a list, got {value!r}")
        return list(value)

    def per_layer(self, name: str, num_layers: int) -> list[Any]:
        """A list of one entry a layer. Raises InputError for another length."""
        items = self.items(name)
        if len(items) != num_layers:
            raise InputError(f"{self.where}: key {name} must have one entry for each of the {num_layers} layers, got {len(items)}")
        return items

    def layer_indices(self, name: str, num_layers: int) -> frozenset[int]:
        """A list of layer indices. Raises InputError for one outside the model."""
        for item in self.items(name):
            if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < num_layers:
                raise InputError(f"{self.where}: key {name} must list layers from 0 to {num_layers - 1}, got {item!r}")
        return frozenset(self.items(name))

    def _present(self, names: tuple[str, ...]) -> str:
        return next(name for name in names if self._config.get(name) is not None)

    def _integer(self, value: Any, name: str, minimum: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise InputError(f"{self.where}: key {name} must be an integer of at least {minimum}, got {value!r}")
        return value
