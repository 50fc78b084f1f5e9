"""Several cards taken as one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import Kind, load_machine, machine_names, pooled


def test_curves_of_one_card_are_left_out() -> None:
    """A kernel over a share of each weight was not measured; those of the host stay."""
    measured = load_machine("h100")
    two = measured.model_copy(update={"gpu": measured.gpu.model_copy(update={"count": 2})})
    assert measured.curves and all(curve.device == "gpu" for curve in measured.curves)
    assert pooled(two).curves == ()


@given(name=st.sampled_from(machine_names()), count=st.integers(1, 16))
@settings(max_examples=40)
def test_cards_add_up(name: str, count: int) -> None:
    """So many cards: as many times the memory, its rate and the compute; the link, the launches and
    the host stay; nothing is called measured. One card stays.
    """
    own = load_machine(name)
    machine = own.model_copy(update={"gpu": own.gpu.model_copy(update={"count": count})})
    one = pooled(machine)
    if count == 1:
        assert one is machine
        return
    assert one.gpu.count == 1
    assert one.gpu.memory_bytes.effective == pytest.approx(
        count * machine.gpu.memory_bytes.effective
    )
    assert one.gpu.memory_bytes_per_s.effective == pytest.approx(
        count * machine.gpu.memory_bytes_per_s.effective
    )
    for dtype, rate in machine.gpu.flops_per_s.items():
        assert one.gpu.flops_per_s[dtype].effective == pytest.approx(count * rate.effective)
    assert (one.link, one.cpu, one.gpu.launch_overhead_ns) == (
        machine.link,
        machine.cpu,
        machine.gpu.launch_overhead_ns,
    )
    assert one.gpu.memory_bytes.kind is Kind.ASSUMED and "pooled" in one.gpu.memory_bytes.source
    assert all(curve.device != "gpu" for curve in one.curves)


def test_a_machine_without_a_gpu_stays_as_it_is() -> None:
    """There is nothing to pool."""
    machine = load_machine("Ryzen 9 7950X + 2x32GB DDR5-4800")
    assert pooled(machine) is machine
