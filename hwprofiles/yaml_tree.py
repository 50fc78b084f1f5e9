"""Making plain values from the events of a YAML text, step by step, within limits of depth and
size.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 64
"""The most lists and mappings inside each other."""
MAX_VALUES = 2_000_000
"""The most values of a file; values that aliases repeat count each time."""
MAX_DIGITS = 100
"""The most digits of a whole number."""

_PREFIX = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(_PREFIX + name for name in ("str", "int", "float", "bool", "null"))
_TREE_TAGS = frozenset(_PREFIX + name for name in ("map", "seq"))
_MERGE = "<<"
_DIGITS = re.compile(r"[0-9]")


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come yet. ``key`` is the key of the value that comes
    next.
    """

    value: list[Any] | dict[str, Any]
    anchor: str | None
    num_values_before: int
    key: str | None = None
    is_merging: bool = False
    merged: dict[str, Any] = field(default_factory=dict)


class TreeBuilder:
    """Builds the value of one document.

    Raises yaml.MarkedYAMLError at the first thing that is not allowed.
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        # A stack of our own: PyYAML composes by recursion, which a deep file ends with a crash.
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._num_values = 0
        self._num_documents = 0
        self._result: Any = None
        self._resolver = yaml.resolver.Resolver()
        self._constructor = yaml.constructor.SafeConstructor()

    def build(self, events: Iterable[yaml.Event]) -> Any:
        """Return the document's value; None for an empty text."""
        for event in events:
            self._take(event)
        return self._result

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._num_documents += 1
            if self._num_documents > 1:
                raise _problem("a file holds one document, here a second begins", event)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._count(1, event)
        if self._is_key_due():
            self._set_key(event.value, event, can_merge=event.implicit[0])
            if event.anchor is not None:
                # Anchors keep how many values they stand for, so that an alias of aliases cannot
                # grow without end.
                self._anchors[event.anchor] = (event.value, 1)
            return
        value = self._converted(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, event)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        if self._is_key_due():
            raise _problem("a key must be text, not a list or a mapping", event)
        if len(self._stack) >= MAX_DEPTH:
            raise _problem(
                f"lists and mappings lie at most {MAX_DEPTH} deep inside each other", event
            )
        if event.tag not in (None, "!") and event.tag not in _TREE_TAGS:
            raise _problem(f"tag {event.tag} is not read", event)
        self._count(1, event)
        value: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self._stack.append(
            _Open(value=value, anchor=event.anchor, num_values_before=self._num_values - 1)
        )

    def _close(self, event: yaml.CollectionEndEvent) -> None:
        done = self._stack.pop()
        value = done.value
        if done.merged:
            assert isinstance(value, dict)
            # YAML's merge: keys of the mapping itself go before merged ones, wherever "<<" stands.
            value = {**done.merged, **value}
        if done.anchor is not None:
            self._anchors[done.anchor] = (value, self._num_values - done.num_values_before)
        self._put(value, event)

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise _problem(f"no anchor {event.anchor!r} before this alias", event)
        value, num_values = self._anchors[event.anchor]
        self._count(num_values, event)
        if not self._is_key_due():
            self._put(value, event)
        elif isinstance(value, str):
            self._set_key(value, event, can_merge=False)
        else:
            raise _problem("a key must be text, not what an alias repeats", event)

    def _is_key_due(self) -> bool:
        if not self._stack:
            return False
        top = self._stack[-1]
        return isinstance(top.value, dict) and top.key is None and not top.is_merging

    def _set_key(self, key: str, event: yaml.Event, *, can_merge: bool) -> None:
        top = self._stack[-1]
        if can_merge and key == _MERGE:
            top.is_merging = True
            return
        if key in top.value:
            raise _problem(f"key {key!r} is written twice", event)
        top.key = key

    def _put(self, value: Any, event: yaml.Event) -> None:
        """Give the value to the list or mapping that it stands in."""
        if not self._stack:
            self._result = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.is_merging:
            top.is_merging = False
            self._merge(value, top, event)
        else:
            assert top.key is not None
            top.value[top.key] = value
            top.key = None

    def _merge(self, value: Any, top: _Open, event: yaml.Event) -> None:
        """Take the keys of a mapping, or of each mapping in a list; for a key that several have,
        the first mapping wins.
        """
        sources = value if isinstance(value, list) else [value]
        for source in sources:
            if not isinstance(source, dict):
                raise _problem("<< takes a mapping, or a list of mappings", event)
            top.merged = {**source, **top.merged}

    def _count(self, num_values: int, event: yaml.Event) -> None:
        self._num_values += num_values
        if self._num_values > MAX_VALUES:
            raise _problem(
                f"a file holds at most {MAX_VALUES:,} values, what aliases repeat counted", event
            )

    def _converted(self, event: yaml.ScalarEvent) -> Any:
        """The scalar as YAML 1.1 reads it except for dates and ``=``, which stay text."""
        tag = event.tag if event.tag not in (None, "!") else None
        if tag is None:
            is_plain = event.implicit[0] and event.tag is None
            implicit = (is_plain, not is_plain)
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, implicit)  # type: ignore[no-untyped-call]
            # Dates and "=" stay text: a date is checked where it is used, with the key's name.
            if tag not in _SCALAR_TAGS:
                return event.value
        if tag not in _SCALAR_TAGS:
            raise _problem(f"tag {tag} is not read", event)
        try:
            return self._typed(tag.removeprefix(_PREFIX), event.value, event)
        except (ValueError, KeyError, IndexError, OverflowError):
            raise _problem(f"no {tag.removeprefix(_PREFIX)}: {event.value!r}", event) from None

    def _typed(self, kind: str, text: str, event: yaml.ScalarEvent) -> Any:
        if kind == "null":
            return None
        if kind == "bool":
            return self._constructor.bool_values[text.lower()]
        if kind == "str":
            return text
        # Python takes time that grows with the square of the digits, and refuses beyond 4,300 of
        # them.
        if kind == "int" and len(_DIGITS.findall(text)) > MAX_DIGITS:
            raise _problem(f"a whole number has at most {MAX_DIGITS} digits", event)
        node = yaml.ScalarNode(_PREFIX + kind, text)
        if kind == "int":
            return self._constructor.construct_yaml_int(node)
        return self._constructor.construct_yaml_float(node)


def _problem(text: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=event.start_mark)  # type: ignore[arg-type]  # libyaml's own marks
