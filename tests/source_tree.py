"""The source of the packages, parsed but never run: modules, what they import, and the sizes of
what they define.
"""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hwprofiles", "sim", "planner", "validation", "rosin")
"""From the ground up: each may import those before it."""
UNIT_SIZES = {
    1e-9,
    1e-6,
    1e-3,
    *(1000**power for power in range(1, 5)),
    *(1024**power for power in range(1, 5)),
}
"""Numbers that turn one unit into another."""


@dataclass(frozen=True)
class Function:
    """A function and the statements in it, nested ones too, its docstring left out."""

    where: str
    num_statements: int


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def package(self) -> str:
        """The top package it belongs to."""
        return self.name.partition(".")[0]

    @property
    def is_package(self) -> bool:
        """Whether it is an __init__.py."""
        return self.path.name == "__init__.py"

    @property
    def num_lines(self) -> int:
        """Lines of the file."""
        return len(self.path.read_text(encoding="utf-8").splitlines())

    @cached_property
    def imported_names(self) -> set[str]:
        """Dotted names that the file imports anywhere, inside functions and for types too."""
        names: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        return names

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        kept = parents[: len(parents) - node.level + self.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    @property
    def bare_conversions(self) -> list[str]:
        """Lines that multiply or divide by a bare number that turns units."""
        statements = [
            node for node in ast.walk(self.tree) if isinstance(node, ast.BinOp | ast.AugAssign)
        ]
        lines = {node.lineno for node in statements if has_bare_conversion(node)}
        return [f"{self.path.relative_to(ROOT)}:{line}" for line in sorted(lines)]

    @cached_property
    def texts(self) -> list[tuple[int, str]]:
        """Strings of the code with their lines, of an f-string each piece; docstrings and other
        statements that are nothing but a string are left out.
        """
        documented = {node.value for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        return [
            (node.lineno, node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in documented
        ]

    @property
    def constants(self) -> list[str]:
        """Names that the module itself gives a value."""
        return [
            target.id
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method, nested ones too."""
        nodes = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        return [
            Function(
                f"{self.path.relative_to(ROOT)}:{node.lineno} {node.name}", _num_statements(node)
            )
            for node in nodes
        ]


def has_bare_conversion(statement: ast.AST) -> bool:
    """Whether something in it is multiplied or divided by a number that turns units."""
    operations = (
        node for node in ast.walk(statement) if isinstance(node, ast.BinOp | ast.AugAssign)
    )
    return any(
        isinstance(node.op, ast.Mult | ast.Div | ast.FloorDiv | ast.Mod)
        and any(_number(side) in UNIT_SIZES for side in _sides(node))
        for node in operations
    )


def _sides(node: ast.BinOp | ast.AugAssign) -> list[ast.expr]:
    return [node.value] if isinstance(node, ast.AugAssign) else [node.left, node.right]


def _number(node: ast.expr) -> float | None:
    """What an expression of nothing but numbers is; None for any other."""
    is_plain = all(
        isinstance(part, ast.Constant | ast.BinOp | ast.operator) for part in ast.walk(node)
    )
    if not is_plain:
        return None
    value = eval(compile(ast.Expression(node), "number", "eval"))
    return value if isinstance(value, int | float) else None


def modules() -> list[Module]:
    """All modules of the five packages."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [Module(_dotted(path), path) for path in paths]


def import_graph(sources: list[Module]) -> dict[str, set[str]]:
    """For each module, the modules of ours that it imports."""
    names = {module.name for module in sources}
    return {module.name: (module.imported_names & names) - {module.name} for module in sources}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _num_statements(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1 - is_docstring
