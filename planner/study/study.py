"""A study: a base setting, what varies about it, and the points that result."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any

from hwprofiles import load_machine
from hwprofiles.input_file import is_file
from planner.search.plan import Setting
from planner.study.axes import Axis, Value
from sim.routing import load_routing

CODE_PACKAGES = ("hwprofiles", "sim", "planner")
CODE_SUFFIXES = frozenset({".py", ".yaml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting of a study, with the value it has on each axis."""

    values: tuple[Value, ...]
    setting: Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study, which asks at every point for the best plan by ``objective``.

    ``version`` is that of the program that answers.
    """

    base: Setting
    axes: tuple[Axis, ...]
    objective: str
    version: str
    has_bounds: bool = True

    @property
    def num_points(self) -> int:
        """The product of the axes' lengths."""
        return prod(len(axis.values) for axis in self.axes)

    def keys(self) -> "Keys":
        """Return what names the study's points."""
        return Keys(self.objective, self.version, has_bounds=self.has_bounds)

    def points(self) -> Iterator[Point]:
        """All combinations; the last axis changes fastest. Without axes, the base alone."""
        for values in itertools.product(*(axis.values for axis in self.axes)):
            setting = self.base
            for axis, value in zip(self.axes, values, strict=True):
                setting = axis.applied(setting, value)
            yield Point(values=values, setting=setting)


class Keys:
    """Names of points by all that determines their outcome: equal keys mean equal outcomes.

    A key is made of the setting, the objective, the version, the source code, the shipped data, and
    the files that the setting names. An object reads those files once, and takes them not to change
    while it lives.
    """

    def __init__(self, objective: str, version: str, *, has_bounds: bool = True) -> None:
        """Name points for that objective under that version."""
        self._program = [
            objective if has_bounds else f"{objective} without bounds",
            version,
            code_digest(),
        ]
        self._contents: dict[tuple[str | None, ...], str] = {}

    def key(self, setting: Setting) -> str:
        """The key of one setting. Raises InputError when a name in it leads nowhere."""
        return digest([*self._program, self._content(setting), setting.model_dump(mode="json")])

    def identity(self, base: Setting) -> dict[str, str]:
        """Return what tells studies apart that must not share a file.

        Each part has a name, and a digest or a value to show.
        """
        objective, version, code = self._program
        return {
            "base setting": base.model_dump_json(),
            "objective": objective,
            "version": version,
            "code": code,
        } | {"content of the files named": self._content(base)}

    def _content(self, setting: Setting) -> str:
        names = (
            setting.machine,
            setting.model,
            setting.quantization,
            setting.kv_type,
            setting.routing,
        )
        if names not in self._contents:
            self._contents[names] = content_digest(setting)
        return self._contents[names]


def content_digest(setting: Setting) -> str:
    """Return a hash of what a setting names: the machine as its file states it, the model, the
    routing.

    Raises InputError.
    """
    model = setting.loaded_model()
    # Loaded for its errors alone: a name that leads nowhere must be found here.
    load_routing(setting.routing, model)
    spec = setting.routing or ""
    # A file may change under the same name, so its content counts.
    file = Path(spec.removeprefix("popularity:"))
    routing = hashlib.sha256(file.read_bytes()).hexdigest() if is_file(file) else spec
    # Field by field: what a model shows of itself is a summary.
    content = {each.name: repr(getattr(model, each.name)) for each in fields(model)}
    return digest([load_machine(setting.machine).model_dump(mode="json"), content, routing])


@cache
def code_digest() -> str:
    """Return a hash of the source and the shipped data that a plan is made with.

    Two programs that may differ never share points.
    """
    found = hashlib.sha256()
    for package in CODE_PACKAGES:
        root = Path(str(resources.files(package)))
        # Sorted, because file systems list files in different orders.
        for path in sorted(root.rglob("*")):
            # Compiled files and caches differ from computer to computer without meaning anything.
            if path.suffix in CODE_SUFFIXES and path.is_file():
                found.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
                found.update(path.read_bytes())
    return found.hexdigest()


def digest(data: Any) -> str:
    """A hash of plain data, the same in every process."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
