"""The marks beside names of policies that are not comparable: lossy and foreseeing ones."""

from collections.abc import Mapping
from types import MappingProxyType

from rosin.report.json_documents import ComparedPolicy

LOSSY = "*"
FORETELLING = "†"
MARK_WORDS: Mapping[str, str] = MappingProxyType(
    {
        LOSSY: "* lossy: its tokens differ from a plain forward pass",
        FORETELLING: "† knows the future: no system can do what it does",
    }
)


def row_mark(row: ComparedPolicy) -> str:
    """Return the marks of a policy; most policies have none."""
    lossy = "" if row.is_lossless else f" {LOSSY}"
    return lossy + (f" {FORETELLING}" if row.knows_future else "")
