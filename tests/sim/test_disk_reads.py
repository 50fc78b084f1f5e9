"""Experts that host memory has no room for are read from the disk, once while they stay there."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine
from sim.costs.host_room import RESERVED_BYTES, DiskReads
from sim.costs.memory import Infeasible
from sim.engine.task import TaskKind
from sim.model.library import load_model
from sim.policies import POLICIES
from sim.routing.generated import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch

MODEL = load_model("mixtral-8x7b", "8bit")
BATCH = Batch(prompt_tokens=4, output_tokens=4)


def _scenario(policy: str, memory: str, engine: str = "fast", **changes: object) -> Scenario:
    machine = load_machine("desktop-rtx-4090-ddr5", (f"cpu.memory_bytes={memory}",))
    scenario = Scenario(
        machine=machine,
        model=MODEL,
        batch=BATCH,
        policy=POLICIES[policy],
        routing=uniform(),
        engine=engine,
    )
    return replace(scenario, **changes)  # type: ignore[arg-type]  # any field


def _run(scenario: Scenario) -> Run:
    found = simulate(scenario)
    assert isinstance(found, Run), found
    return found


def _reads(run: Run) -> np.ndarray:
    """The experts read, as numbers over all layers, in order."""
    tasks = run.timeline.tasks
    is_read = tasks.kind == TaskKind.DISK_READ
    return np.asarray(tasks.layer[is_read].astype(np.int64) * 8 + tasks.expert[is_read])


def test_with_room_for_all_nothing_is_read() -> None:
    """Where host memory holds every expert, there is no disk among the resources."""
    assert "disk" not in _run(_scenario("fiddler", "96GB")).metrics.busy_s


@pytest.mark.parametrize(
    "policy",
    ["fiddler", "lru", "hybrimoe", "on-demand", "kt-deferral", "mixtral-next-gate"],
)
def test_engines_agree(policy: str) -> None:
    """Both engines read the same experts at the same times."""
    fast, slow = (_run(_scenario(policy, "14GB", engine)) for engine in ("fast", "reference"))
    assert fast.timeline.digest == slow.timeline.digest
    assert fast.metrics.busy_s["disk"] > 0


def test_a_read_takes_what_the_disk_takes() -> None:
    """Latency and the bytes of an expert at the disk's rate; what waits for it begins no sooner."""
    run = _run(_scenario("fiddler", "14GB"))
    disk = run.scenario.machine.disk
    assert disk is not None
    expert_bytes = MODEL.layers[0].expert_bytes
    each_ns = disk.latency_ns.effective + expert_bytes / disk.bytes_per_s.effective * 1e9
    tasks = run.timeline.tasks
    is_read = tasks.kind == TaskKind.DISK_READ
    assert tasks.duration_ns[is_read] == pytest.approx(each_ns, abs=1)
    for read in np.flatnonzero(is_read):
        used = (tasks.expert == tasks.expert[read]) & (tasks.layer == tasks.layer[read])
        later = used & (tasks.kind == TaskKind.EXPERT) & (np.arange(len(tasks)) > read)
        assert run.timeline.start_ns[later].min() >= run.timeline.end_ns[read]


def test_what_is_kept_is_not_read_again() -> None:
    """An expert is read again only once it has been dropped, which direct reads do at once."""
    cached = _reads(_run(_scenario("fiddler", "24GB")))
    direct = _reads(_run(_scenario("fiddler", "24GB", disk_reads=DiskReads.DIRECT)))
    again = [len(reads) - len(np.unique(reads)) for reads in (cached, direct)]
    assert again[0] < again[1]


@given(
    policy=st.sampled_from(("fiddler", "on-demand", "llama.cpp")),
    gigabytes=st.integers(8, 26),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_what_is_dropped_was_asked_for_longest_ago(policy: str, gigabytes: int, seed: int) -> None:
    """The reads of a run are those of a plain cache that drops the least recently used."""
    run = _run(_scenario(policy, f"{gigabytes}GB", seed=seed))
    assert run.decisions.shelf is not None
    expert_bytes = MODEL.layers[0].expert_bytes
    # All are as popular, so at the start the first count as asked for the longest ago.
    there = dict.fromkeys(np.flatnonzero(run.decisions.shelf.experts).tolist())
    free_bytes = run.decisions.shelf.left_bytes
    reads = []
    for asked in _asked(run):
        if asked in there:
            there.pop(asked)
        else:
            reads.append(asked)
            while free_bytes < expert_bytes:
                there.pop(next(iter(there)))
                free_bytes += expert_bytes
            free_bytes -= expert_bytes
        there[asked] = None
    assert _reads(run).tolist() == reads


def _asked(run: Run) -> list[int]:
    """The experts that are used from host memory, in order: those copied, and those that the CPU runs."""
    tasks = run.timeline.tasks
    names = [resource.name for resource in run.timeline.platform.resources]
    on_cpu = (tasks.kind == TaskKind.EXPERT) & (tasks.resource == names.index("cpu"))
    is_use = on_cpu | (tasks.kind == TaskKind.FETCH)
    found: list[int] = (tasks.layer[is_use].astype(np.int64) * 8 + tasks.expert[is_use]).tolist()
    return found


def test_more_memory_reads_less() -> None:
    """Direct reads fall with host memory, to none."""
    sizes = ("8GB", "14GB", "20GB", "26GB")
    scenarios = (_scenario("fiddler", size, disk_reads=DiskReads.DIRECT) for size in sizes)
    busy = [_run(scenario).metrics.busy_s.get("disk", 0.0) for scenario in scenarios]
    assert busy == sorted(busy, reverse=True) and busy[0] > busy[-1]


def test_what_is_no_expert_must_fit() -> None:
    """Weights outside experts are not read again and again: without room for them nothing runs."""
    found = simulate(_scenario("fiddler", "3.9GB"))
    assert isinstance(found, Infeasible)
    assert "no room for what is no expert" in found.reason
    assert 0 < found.missing_bytes < RESERVED_BYTES


def test_without_a_disk_it_does_not_fit() -> None:
    """A machine that states no disk refuses, as it always did."""
    scenario = _scenario("fiddler", "14GB")
    machine = scenario.machine.model_copy(update={"disk": None})
    found = simulate(replace(scenario, machine=machine))
    assert isinstance(found, Infeasible)
    assert found.reason.startswith("host memory would hold")


def test_the_reader_is_told() -> None:
    """A warning says that experts are read, and what becomes of them."""
    [warning] = _run(_scenario("lru", "14GB")).warnings
    assert "read from the disk" in warning and "longest ago" in warning
