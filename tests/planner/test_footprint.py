"""What simulating takes: upper estimates that count what a run keeps, and what the system says is
free.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.search.footprint import draw_bytes, pass_shapes, plan_bytes, run_bytes
from planner.search.free_memory import KIB, free_bytes
from planner.search.plan import Setting
from sim.policies import POLICIES, find_policy
from sim.step.simulate import Scenario
from sim.workload.batch import Batch, Feeding, forward_passes

COUNTS = st.integers(1, 40)
SIZES = st.none() | COUNTS


def _scenario(policy: str = "on-demand", **changes: int) -> Scenario:
    setting = Setting(
        model="qwen3-30b-a3b", machine="desktop-rtx-4090-ddr5", prompt_tokens=16, output_tokens=100
    )
    return setting.model_copy(update=changes).scenario(find_policy(policy), "fast")


@given(
    batch=st.builds(
        Batch,
        prompt_tokens=COUNTS,
        output_tokens=COUNTS,
        batch_size=st.integers(1, 9),
        beams=st.integers(1, 3),
    ),
    feeding=st.one_of(
        st.builds(
            Feeding,
            prefill_chunk_tokens=SIZES,
            replicates_prompt=st.booleans(),
            decodes_beams_apart=st.booleans(),
        ),
        st.builds(
            Feeding,
            micro_batch_sequences=COUNTS,
            prefill_micro_batch_sequences=SIZES,
            replicates_prompt=st.booleans(),
        ),
    ),
)
def test_passes_are_counted_as_they_are_made(batch: Batch, feeding: Feeding) -> None:
    """As many passes as the run has, none of more tokens than said, and not fewer tokens in all."""
    passes, shapes = forward_passes(batch, feeding), list(pass_shapes(batch, feeding))
    assert sum(shape.num_passes for shape in shapes) == len(passes)
    prefill, decode = shapes
    assert passes.num_tokens[passes.is_prefill].max() <= prefill.num_tokens
    assert passes.num_tokens[~passes.is_prefill].max(initial=0) <= decode.num_tokens
    assert sum(shape.num_passes * shape.num_tokens for shape in shapes) >= passes.num_tokens.sum()


def test_a_plan_takes_more_than_a_run() -> None:
    """With every draw, and with every thread."""
    scenario = _scenario()
    assert plan_bytes(scenario, 1, 1) > run_bytes(scenario)
    assert plan_bytes(scenario, 5, 1) - plan_bytes(scenario, 4, 1) == draw_bytes(scenario)
    assert plan_bytes(scenario, 4, 2) > plan_bytes(scenario, 4, 1)


def test_a_request_beyond_all_memory_is_counted_at_once() -> None:
    """The most output tokens that may be asked for, counted without a list of passes."""
    scenario = _scenario()
    huge = replace(scenario, batch=replace(scenario.batch, output_tokens=2**24))
    assert run_bytes(huge) > 10**10


def _system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 900 kB\nMemAvailable:     700 kB\n"}


def test_what_is_available_is_free(tmp_path: Path) -> None:
    """Without limits, what the kernel says; where it says nothing, nothing is known."""
    assert free_bytes(_system(tmp_path, MEMINFO)) == 700 * KIB
    assert free_bytes(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("cgroup", "folder", "names"),
    [
        ("0::/a/b", "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:cpu,memory:/a/b",
            "sys/fs/cgroup/memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
@pytest.mark.parametrize("group", ["a/b", "a", "."])
def test_the_tightest_control_group_counts(
    group: str, cgroup: str, folder: str, names: tuple[str, str, str], tmp_path: Path
) -> None:
    """A group's own limit or one above it; the file cache that it would give back is free."""
    limit, used, cache = names
    place = f"{folder}/{group}"
    files = {
        f"{place}/{limit}": "5000\n",
        f"{place}/{used}": "3000\n",
        f"{place}/memory.stat": f"anon 5\n{cache} 1000\n",
    }
    unlimited = {f"{folder}/a/b/c/{limit}": "max\n"}
    assert (
        free_bytes(
            _system(tmp_path, MEMINFO | {"proc/self/cgroup": f"{cgroup}\n"} | files | unlimited)
        )
        == 3000
    )


def test_a_limit_of_the_process_counts(tmp_path: Path) -> None:
    """`ulimit -v` less what the process has taken; `unlimited` is none."""
    status = {"proc/self/status": "Name: python\nVmSize:\t    4 kB\n"}
    limits = {
        "proc/self/limits": "Limit   Soft Limit  Hard Limit  Units\nMax address space   9000   unlimited   bytes\n"
    }
    assert free_bytes(_system(tmp_path, MEMINFO | status | limits)) == 9000 - 4 * KIB
    (tmp_path / "proc/self/limits").write_text(
        "Max address space   unlimited   unlimited   bytes\n", encoding="utf-8"
    )
    assert free_bytes(tmp_path) == 700 * KIB


def test_groups_that_are_full_leave_nothing(tmp_path: Path) -> None:
    """Never less than nothing."""
    files = {
        "sys/fs/cgroup/memory.max": "10",
        "sys/fs/cgroup/memory.current": "20",
        "proc/self/cgroup": "0::/\n",
    }
    assert free_bytes(_system(tmp_path, MEMINFO | files)) == 0


@given(
    policy=st.sampled_from(sorted(POLICIES)),
    work=st.fixed_dictionaries(
        {
            "prompt_tokens": st.integers(1, 2000),
            "output_tokens": st.integers(1, 2000),
            "batch_size": st.integers(1, 16),
            "beams": st.integers(1, 4),
        }
    ),
    more=st.sampled_from(["prompt_tokens", "output_tokens", "batch_size", "beams"]),
    factor=st.integers(2, 9),
)
@settings(max_examples=40)
def test_more_work_never_takes_less(
    policy: str, work: dict[str, int], more: str, factor: int
) -> None:
    """Every policy has an estimate; it grows with each count of the work."""
    least = run_bytes(_scenario(policy, **work))
    assert 0 < least <= run_bytes(_scenario(policy, **work | {more: factor * work[more]}))
