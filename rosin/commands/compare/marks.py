"""What is said beside the name of a policy that is not to be taken for an equal of the others."""

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
    """The marks of a policy: none for most."""
    lossy = "" if row.is_lossless else f" {LOSSY}"
    return lossy + (f" {FORETELLING}" if row.knows_future else "")
