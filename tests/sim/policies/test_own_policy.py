"""Policies from outside the table: the how-to's example conforms, goes through a plan's data, and
what is wrong is said in one line.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwprofiles import InputError
from sim.policies import Policy, find_policy, with_settings
from sim.policies.serialize import policy_from_data, policy_to_data
from sim.step.simulate import Run
from sim.testing import check_policy
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine
from tests.source_tree import ROOT

PAGE = ROOT / "docs" / "how-to" / "write-a-policy.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Policy]:
    """The policy of the page, from a file in the current folder."""
    (tmp_path / "my_policy.py").write_text(BLOCKS[0], encoding="utf-8")
    (tmp_path / "broken_policy.py").write_text(
        "raise RuntimeError('two\\nlines')\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    yield find_policy("my_policy:POPULAR")
    sys.modules.pop("my_policy", None)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_example_conforms(example: Policy, model: object) -> None:
    """On odd models, with slots to spare and without, and it does prefetch."""
    for slots in (1, 2):
        run = check_policy(
            example,
            model,
            small_machine(),
            Batch(prompt_tokens=3, output_tokens=12),
            slots_per_layer=slots,
        )  # type: ignore[arg-type]
        assert isinstance(run, Run) and run.metrics.prefetched_bytes > 0


def test_the_check_of_the_page_runs(example: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block, as it stands."""
    monkeypatch.syspath_prepend(str(Path.cwd()))
    exec(BLOCKS[1], {})


def test_the_path_is_left_alone(example: Policy) -> None:
    """The current folder is on it during the import only."""
    assert str(Path.cwd()) not in sys.path


def test_it_goes_through_plain_data(example: Policy) -> None:
    """Its part is named by module and class, and comes back with its parameters."""
    changed = with_settings(example, {"count": "3"})
    data = policy_to_data(changed)
    assert data["prefetch"] == {"part": "my_policy:PopularPrefetch", "count": 3}
    assert policy_from_data(data, "plan.yaml", importable=["my_policy"]) == changed
    data["prefetch"] = {"part": "my_policy:POPULAR"}
    with pytest.raises(
        InputError, match=r"^plan\.yaml\.prefetch\.part: my_policy:POPULAR is not a prefetch part$"
    ):
        policy_from_data(data, "plan.yaml", importable=["my_policy"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "my_polcy:POPULAR",
            r"^policy my_polcy:POPULAR: cannot import 'my_polcy': No module named 'my_polcy'$",
        ),
        ("my_policy:POPULR", r"^policy my_policy:POPULR: my_policy has no 'POPULR'.*POPULAR.*$"),
        ("my_policy:np", r"^policy my_policy:np: of type module, not sim\.policies\.Policy$"),
        (
            "broken_policy:X",
            r"^policy broken_policy:X: cannot import 'broken_policy': .*broken_policy\.py, line 1: RuntimeError: two lines$",
        ),
        (":X", r"^policy :X: write package\.module:NAME$"),
        ("my_policy:", r"^policy my_policy:: write package\.module:NAME$"),
    ],
)
def test_mistakes_are_one_line(example: Policy, name: str, message: str) -> None:
    """Whatever the module does."""
    with pytest.raises(InputError, match=message) as found:
        find_policy(name)
    assert "\n" not in str(found.value)
