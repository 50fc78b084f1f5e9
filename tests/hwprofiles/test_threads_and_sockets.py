"""What sockets and other numbers of threads reach: published shares, on machines from parts and in
machine files.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import (
    InputError,
    Kind,
    Machine,
    load_machine,
    machine_data,
    with_threads,
    write_yaml,
)
from hwprofiles.efficiencies import efficiencies

TWO_SOCKETS = "RTX 4090 + 2xXeon Gold 6252 + 2x(6x32GB DDR4-2933)"
HYBRID = "RTX 5090 + Core i9-13900KF + 2x32GB DDR5-5600"


def _file(folder: Path, **cpu: object) -> Machine:
    """A machine file of nothing but assumed numbers, its CPU with these keys."""
    assumed = {"kind": "assumed", "source": "a test", "date": "2026-11"}
    data = machine_data(load_machine("RTX 4090 + Ryzen 9 7950X"))
    data["cpu"] = {
        "name": "Xeon",
        "cores": 56,
        "memory_bytes_per_s": {"value": 100e9, **assumed},
        "flops_per_s": {"bf16": {"value": 1e12, **assumed}},
        "call_overhead_ns": {"value": 0, **assumed},
    } | cpu
    path = folder / "m.yaml"
    write_yaml(data | {"assumptions": []}, path)
    return load_machine(str(path))


def test_weights_over_two_sockets_reach_what_one_socket_gives() -> None:
    """From a quarter of both to all of both, by the published reports."""
    one = load_machine("RTX 4090 + Xeon Gold 6252 + 6x32GB DDR4-2933").cpu.memory_bytes_per_s
    two = load_machine(TWO_SOCKETS).cpu.memory_bytes_per_s
    assert two.effective == pytest.approx(one.effective)
    assert two.effective_range == pytest.approx(
        (one.effective_range[0] * 0.5, one.effective_range[1] * 2),
    )


def test_a_file_s_unmeasured_rate_of_two_sockets_is_lowered(tmp_path: Path) -> None:
    """And it is said; a rate with an efficiency, a measured one and one socket stay as they are."""
    two = _file(tmp_path, sockets=2)
    assert two.cpu.memory_bytes_per_s.effective == 50e9
    assert "2 sockets and a memory rate that nobody measured" in two.assumptions[0]
    measured = {"value": 100e9, "kind": "measured", "source": "a test", "date": "2026-11"}
    share = {"value": 0.9, "kind": "assumed", "source": "a test", "date": "2026-11"}
    kept = [
        _file(tmp_path, sockets=1),
        _file(tmp_path, sockets=2, memory_bytes_per_s=measured),
        _file(
            tmp_path,
            sockets=2,
            memory_bytes_per_s=measured | {"kind": "assumed", "efficiency": share},
        ),
    ]
    assert [machine.cpu.memory_bytes_per_s.effective for machine in kept] == [100e9, 100e9, 90e9]
    assert [machine.assumptions for machine in kept] == [(), (), ()]


@pytest.mark.parametrize(
    ("name", "sockets"),
    [("2x Xeon P-8136", 2), ("4xXeon 8180", 4), ("Xeon 6252", 1), ("2 Xeon", 1)],
)
def test_sockets_that_a_file_does_not_count_are_in_the_name(
    tmp_path: Path,
    name: str,
    sockets: int,
) -> None:
    """As people write several of one CPU."""
    assert _file(tmp_path, name=name).cpu.sockets == sockets
    assert _file(tmp_path, name=name, sockets=1).cpu.sockets == 1


def test_what_the_user_sets_is_not_lowered(tmp_path: Path) -> None:
    """An override is the effective value."""
    _file(tmp_path, sockets=2)
    machine = load_machine(str(tmp_path / "m.yaml"), ["cpu.memory_bytes_per_s=80e9"])
    assert machine.cpu.memory_bytes_per_s.effective == 80e9


@pytest.mark.parametrize(
    "change", ["cpu.memory_bytes_per_s=80e9", "cpu.sockets=1", "cpu.sockets=4", "cpu.cores=20"]
)
@pytest.mark.parametrize("machine", [TWO_SOCKETS, "file", "h100", "4xXeon Platinum 8280"])
def test_a_file_of_a_changed_machine_says_what_the_machine_does(
    tmp_path: Path, machine: str, change: str
) -> None:
    """Nothing that was set is lowered, or read from a name, when the file is read again."""
    if machine == "file":
        _file(tmp_path, sockets=2)
        machine = str(tmp_path / "m.yaml")
    changed = load_machine(machine, [change])
    write_yaml(machine_data(changed), tmp_path / "written.yaml")
    again = load_machine(str(tmp_path / "written.yaml"))
    assert again.cpu.memory_bytes_per_s == changed.cpu.memory_bytes_per_s
    assert again.cpu.sockets == changed.cpu.sockets
    assert again.assumptions == changed.assumptions


def test_threads_default_to_physical_cores() -> None:
    """Of all sockets; to P cores where there are E cores."""
    assert load_machine(TWO_SOCKETS).cpu.threads == 48
    assert load_machine(HYBRID).cpu.threads == 8


def test_more_threads_than_cores_cost_what_is_published(tmp_path: Path) -> None:
    """In memory and in computing, whether the machine is from parts or a file that counts its
    cores.
    """
    share = efficiencies().threads.smt.value
    for machine, logical in ((load_machine(TWO_SOCKETS), 96), (_file(tmp_path, sockets=2), 112)):
        twice = with_threads(machine, logical).cpu
        own = machine.cpu
        assert twice.threads == logical
        assert twice.memory_bytes_per_s.effective == pytest.approx(
            own.memory_bytes_per_s.effective * share,
        )
        assert twice.flops_per_s["bf16"].effective == pytest.approx(
            own.flops_per_s["bf16"].effective * share,
        )


def test_p_and_e_cores_together_are_slower_than_p_cores() -> None:
    """As published."""
    machine = load_machine(HYBRID)
    share = efficiencies().threads.e_cores.value
    both = with_threads(machine, 24).cpu
    assert both.memory_bytes_per_s.effective == pytest.approx(
        machine.cpu.memory_bytes_per_s.effective * share,
    )


def test_measured_rates_are_never_scaled(tmp_path: Path) -> None:
    """Another number of threads has to be measured too."""
    measured = {"value": 100e9, "kind": "measured", "source": "a test", "date": "2026-11"}
    machine = _file(tmp_path, memory_bytes_per_s=measured)
    with pytest.raises(InputError, match="states no rates for 24 CPU threads"):
        with_threads(machine, 24)


LINES = (TWO_SOCKETS, HYBRID, "Ryzen 9 7950X", "EPYC 9755", "M4 Max 128GB")


@given(line=st.sampled_from(LINES), data=st.data())
@settings(max_examples=40)
def test_every_cpu_states_rates_for_other_threads(line: str, data: st.DataObject) -> None:
    """Fewer and more, none for its own number twice. Fewer threads are never faster, no more is
    claimed than assumed, and its own number changes nothing.
    """
    machine = load_machine(line)
    counts = machine.thread_counts
    assert counts[0] == machine.cpu.threads
    assert min(counts) < counts[0]
    assert len(set(counts)) == len(counts)
    assert with_threads(machine, counts[0]).cpu == machine.cpu
    threads = data.draw(st.sampled_from(counts[1:]))
    other = with_threads(machine, threads).cpu
    assert other.threads == threads
    for dtype, rate in other.flops_per_s.items():
        own = machine.cpu.flops_per_s[dtype]
        assert rate.kind is Kind.ASSUMED
        assert rate.effective <= own.effective * (1 + 1e-9)
        if threads < counts[0]:
            assert rate.effective == pytest.approx(own.effective * threads / counts[0])
    own_rate = machine.cpu.memory_bytes_per_s.effective
    one_thread = efficiencies().threads.one_thread_bytes_per_s.value
    assert other.memory_bytes_per_s.effective <= own_rate
    if threads < counts[0]:  # few threads fill the memory of one socket, and very few do not
        filled = min(own_rate, threads * one_thread)
        assert other.memory_bytes_per_s.effective == pytest.approx(filled)
