"""Numbers that mean nothing are refused where a part is made, whichever part it is."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

import pytest

from hwprofiles import InputError
from sim.policies import POLICIES
from sim.policies.policy import PART_FIELDS


def _numbers() -> Iterator[tuple[Any, str, Any]]:
    """Each number that a part, or a group in it, takes: the part, the parameter's name, its type."""
    waiting = [getattr(policy, kind) for policy in POLICIES.values() for kind in PART_FIELDS]
    seen = set()
    while waiting:
        part = waiting.pop()
        for item in fields(part):
            value = getattr(part, item.name)
            hint = str(get_type_hints(type(part))[item.name])
            if is_dataclass(value):
                waiting.append(value)
            elif (type(part), item.name) not in seen and ("int" in hint or "float" in hint):
                seen.add((type(part), item.name))
                yield part, item.name, hint


NUMBERS = list(_numbers())


@pytest.mark.parametrize(
    ("part", "name", "hint"),
    NUMBERS,
    ids=[f"{type(part).__name__}.{name}" for part, name, _ in NUMBERS],
)
def test_a_number_has_a_range(part: Any, name: str, hint: str) -> None:
    """No parameter takes less than nothing, nor what is no number; the message names it."""
    for value in (-1, math.nan) if "float" in hint else (-1,):
        with pytest.raises(InputError, match=rf"^{name} must be .*, got {value}$"):
            replace(part, **{name: value})
