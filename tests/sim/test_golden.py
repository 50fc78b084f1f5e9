"""A refactor changes no timeline."""

import json

from tests.sim.golden import FILE, digests


def test_timelines_are_those_written_down() -> None:
    """Digests equal golden.json; ``python -m tests.sim.golden`` writes it anew after a change that
    means to change them.
    """
    assert digests() == json.loads(FILE.read_text(encoding="utf-8"))
