"""The share of test functions that are properties: those that draw their inputs with Hypothesis.

python -m tests.property_share
"""

import ast

from tests.source_tree import ROOT


def main() -> None:
    """Print how many of all test functions are properties; one that is parametrised counts once."""
    tests = [
        node
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    properties = [test for test in tests if any(map(_draws, test.decorator_list))]
    share = len(properties) / len(tests)
    print(f"{len(properties)} of {len(tests)} test functions are properties: {share:.1%}")


def _draws(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).startswith("given(")


if __name__ == "__main__":
    main()
