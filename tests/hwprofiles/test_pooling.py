"""Several cards taken as one."""

from hwprofiles import Kind, load_machine, pooled


def test_cards_add_up() -> None:
    """Four cards: four times the memory, its rate and the compute; the link, the launches and the
    host stay; nothing is called measured.
    """
    machine = load_machine("ktransformers-4x4090")
    one = pooled(machine)
    assert (machine.gpu.count, one.gpu.count) == (4, 1)
    assert one.gpu.memory_bytes.effective == 4 * machine.gpu.memory_bytes.effective
    assert one.gpu.memory_bytes_per_s.effective == 4 * machine.gpu.memory_bytes_per_s.effective
    assert {name: rate.effective for name, rate in one.gpu.flops_per_s.items()} == {
        name: 4 * rate.effective for name, rate in machine.gpu.flops_per_s.items()
    }
    assert (one.link, one.cpu, one.gpu.launch_overhead_ns) == (
        machine.link,
        machine.cpu,
        machine.gpu.launch_overhead_ns,
    )
    assert one.gpu.memory_bytes.kind is Kind.ASSUMED and "pooled" in one.gpu.memory_bytes.source


def test_curves_of_one_card_are_left_out() -> None:
    """A kernel over a share of each weight was not measured; those of the host stay."""
    measured = load_machine("h100")
    two = measured.model_copy(update={"gpu": measured.gpu.model_copy(update={"count": 2})})
    assert measured.curves and all(curve.device == "gpu" for curve in measured.curves)
    assert pooled(two).curves == ()


def test_one_card_stays() -> None:
    """A machine with one GPU is itself."""
    machine = load_machine("a100-40")
    assert pooled(machine) is machine
