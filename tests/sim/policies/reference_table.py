"""The table of rows in docs/reference/policies.md, made of the rows themselves:
`python -m tests.sim.policies.reference_table` writes it anew.
"""

from pathlib import Path

from sim.policies import PARTS, POLICIES, Policy, part_name

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "policies.md"
HEAD = ("row", ", ".join(PARTS), "what it does", "source")
BEGIN = "<!-- made by `python -m tests.sim.policies.reference_table` -->\n"
END = "<!-- end of the table -->\n"


def table() -> str:
    """The table, a line each row."""
    rows = [HEAD, ("---",) * len(HEAD), *(_row(policy) for policy in POLICIES.values())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def with_table(page: str) -> str:
    """The page with the table between its two marks as the rows are now."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def _row(policy: Policy) -> tuple[str, ...]:
    mark = "" if policy.is_lossless else " (lossy)"
    if policy.knows_future:
        mark += " (knows the future)"
    parts = {kind: part_name(kind, getattr(policy, kind)) for kind in PARTS}
    parts["overlap"] = policy.overlap.manner
    return f"`{policy.name}`{mark}", ", ".join(parts.values()), policy.summary, policy.source


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
