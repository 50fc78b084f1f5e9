"""The shape of the house: imports flow one way, files and functions stay small, packages are
facades.
"""

import ast
import graphlib
import re
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

import hwprofiles.units
from rosin.cli.app import build_app
from rosin.cli.field_options import OPTIONS
from tests.source_tree import PACKAGES, Module, has_bare_conversion, import_graph, modules

MAX_FILE_LINES, MAX_MEDIAN_FILE_LINES = 400, 130
MAX_STATEMENTS, MAX_P90_STATEMENTS, MAX_MEDIAN_STATEMENTS = 40, 18, 6
SOURCES = modules()
FACADES = [module for module in SOURCES if module.is_package]


def test_imports_flow_one_way() -> None:
    """No module imports a package that stands above its own."""
    graph = import_graph(SOURCES)
    upward = [
        f"{name} imports {target}"
        for name, targets in graph.items()
        for target in targets
        if _height(target) > _height(name)
    ]
    assert upward == []


def test_there_is_no_import_cycle() -> None:
    """Not even for types, nor hidden inside a function."""
    try:
        graphlib.TopologicalSorter(import_graph(SOURCES)).prepare()
    except graphlib.CycleError as error:
        pytest.fail("imports go in a circle: " + " imports ".join(reversed(error.args[1])))


def test_only_validation_imports_torch() -> None:
    """Whoever only predicts needs no torch."""
    users = [
        module.name
        for module in SOURCES
        if "torch" in {name.partition(".")[0] for name in module.imported_names}
    ]
    assert [name for name in users if name.partition(".")[0] != "validation"] == []


def test_no_module_imports_a_private_name() -> None:
    """What begins with an underscore belongs to its own module."""
    found = [
        f"{module.name} imports {name}"
        for module in SOURCES
        for name in sorted(module.imported_names)
        if name.partition(".")[0] in PACKAGES and name.rpartition(".")[2].startswith("_")
    ]
    assert [name for name in found if not name.endswith("__")] == []


def test_files_are_small() -> None:
    """No file over 400 lines, and the median of files that hold code at most 130."""
    assert [
        f"{module.name}: {module.num_lines}"
        for module in SOURCES
        if module.num_lines > MAX_FILE_LINES
    ] == []
    assert (
        statistics.median(module.num_lines for module in SOURCES if not module.is_package)
        <= MAX_MEDIAN_FILE_LINES
    )


def test_functions_are_small() -> None:
    """No function over 40 statements, nine in ten at most 18, the median at most 6."""
    functions = [function for module in SOURCES for function in module.functions]
    counts = sorted(function.num_statements for function in functions)
    assert [
        f"{function.where}: {function.num_statements}"
        for function in functions
        if function.num_statements > MAX_STATEMENTS
    ] == []
    assert counts[int(0.9 * (len(counts) - 1))] <= MAX_P90_STATEMENTS
    assert statistics.median(counts) <= MAX_MEDIAN_STATEMENTS


def test_units_are_converted_by_name() -> None:
    """Nothing is multiplied or divided by a bare power of 1000 or 1024, and no unit is defined
    again: ``hwprofiles/units.py`` has them all.
    """
    others = [module for module in SOURCES if module.name != "hwprofiles.units"]
    assert [where for module in others for where in module.bare_conversions] == []
    units = {
        name for name, value in vars(hwprofiles.units).items() if isinstance(value, int | float)
    }
    again = [
        f"{module.name}: {name}"
        for module in others
        for name in module.constants
        if name.lstrip("_") in units
    ]
    assert again == []


def test_what_grows_has_a_limit() -> None:
    """``functools.cache`` remembers what takes no argument; what does goes into a Memo, whose size
    is bounded (``sim.memo.remembered``).
    """
    found = [
        f"{module.name}: {node.name}"
        for module in SOURCES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
        and any(
            re.match(r"(functools\.)?(lru_)?cache\b", ast.unparse(each))
            for each in node.decorator_list
        )
        and ast.unparse(node.args)
    ]
    assert found == []


def test_only_the_command_line_names_its_options() -> None:
    """Below rosin a message names the field, which the command line says as its option; a program
    that reads options of its own may name those.
    """
    options = set(_options(typer.main.get_command(build_app())))
    found = [
        f"{module.name}:{line}: {word}"
        for module in SOURCES
        if module.package != "rosin"
        for line, text in module.texts
        for word in set(_flags_in(text)) & (options - {text for _, text in module.texts})
    ]
    assert found == []
    assert {flag for flag in OPTIONS.values() if flag not in options} == set()


def test_fields_that_messages_name_have_options() -> None:
    """What a message below rosin names in backticks is a field that an option sets."""
    fields = {
        name
        for module in SOURCES
        if module.package != "rosin"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
        for name in re.findall(r"`(\w+)`", inner.value)
    }
    assert fields and sorted(fields - set(OPTIONS)) == []


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [
        ("size / 1e9", True),
        ("1_000 * seconds", True),
        ("count // 2**30", True),
        ("left % (1 << 20)", True),
        ("ns * 1e-9", True),
        ("total *= 1024", True),
        ("10**6 / rate", True),
        ("size / GB", False),
        ("share * 100", False),
        ("1e-12 * total", False),
        ("limit <= 1e6", False),
    ],
)
def test_bare_conversions_are_seen(text: str, is_bare: bool) -> None:
    """The test above sees every way to write such a number."""
    assert (has_bare_conversion(ast.parse(text).body[0])) is is_bare


@pytest.mark.parametrize("facade", FACADES, ids=lambda module: module.name)
def test_package_is_a_facade(facade: Module) -> None:
    """An __init__.py has a docstring, imports and a sorted __all__ of names that it has; nothing is
    defined there.
    """
    defined = [
        node for node in facade.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert defined == []
    exported = _exported(facade)
    assert exported == sorted(
        exported, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )  # constants, types, functions
    assert set(exported) == {
        alias.asname or alias.name
        for node in facade.tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_package_marks_itself_typed(package: str) -> None:
    """Users of the packages get our types."""
    facade = next(module for module in FACADES if module.name == package)
    assert (facade.path.parent / "py.typed").exists()


def _height(name: str) -> int:
    return PACKAGES.index(name.partition(".")[0])


def _options(command: Any) -> Iterator[str]:
    """The long options of a command and of those below it."""
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("--"))
    for inner in getattr(command, "commands", {}).values():
        yield from _options(inner)


def _flags_in(text: str) -> list[str]:
    """Words of a sentence that are written as options are; none where all of it is arguments."""
    words = text.split()
    if all(word.startswith("-") for word in words):
        return []
    return re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)


def _exported(facade: Module) -> list[str]:
    """The names in __all__; none where the file has no __all__."""
    for node in facade.tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))  # type: ignore[union-attr]
    return []
