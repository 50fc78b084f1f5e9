"""Laws of prices and rooms: slices over cards, reads from a disk, what host memory keeps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine, pooled
from sim.costs.cost_model import CostModel
from sim.costs.host_room import RESERVED_BYTES, behind_bytes, disk_read_ns, first_shelf
from sim.costs.memory import Residency
from sim.costs.slices import SlicedCosts, SplitMode, is_compressed, slice_of
from sim.model.library import load_model
from sim.model.model import Model, TensorClass
from tests.sim.small import MODELS, ODD_MODELS, quantity, small_machine

NAMES = (
    "mixtral-8x7b",
    "deepseek-v2-lite",
    "qwen3-next-80b-a3b",
    "gpt-oss-20b",
    "granite-3-3b-a800m",
)
TWO = load_machine("desktop-rtx-4090-ddr5", ("gpu.count=2",))
WHOLE = (TensorClass.NORM, TensorClass.ROUTER)
names = st.sampled_from(NAMES)
cards = st.integers(1, 16)
modes = st.sampled_from((SplitMode.TENSOR, SplitMode.ROW))


@given(names, cards)
@settings(max_examples=30)
def test_slices_make_up_the_model(name: str, num_cards: int) -> None:
    """As many slices as cards have as many weights as the model, less than one more a class; what
    each card has whole is there as often.
    """
    model = load_model(name)
    part = slice_of(model, num_cards, SplitMode.TENSOR)
    for layer, own in zip(model.layers, part.layers, strict=True):
        for which, count in layer.params.items():
            if which in WHOLE:
                assert own.params[which] == count
                continue
            assert own.params[which] * num_cards >= count
            compressed = layer.attention is not None and is_compressed(layer.attention)
            if not (which is TensorClass.ATTENTION and compressed):
                assert (own.params[which] - 1) * num_cards < count
    assert (part.num_experts, part.top_k) == (model.num_experts, model.top_k)


@given(names, cards, st.integers(1, 8), modes)
@settings(max_examples=30)
def test_more_cards_hold_and_keep_no_more(
    name: str, num_cards: int, more: int, mode: SplitMode
) -> None:
    """Each card's weights and keys and values shrink with their number, down to one head."""
    model = load_model(name)
    few, many = (slice_of(model, count, mode) for count in (num_cards, num_cards + more))
    assert many.kv_bytes_per_token <= few.kv_bytes_per_token
    for one, other in zip(few.layers, many.layers, strict=True):
        assert all(other.params[which] <= count for which, count in one.params.items())
        assert all(other.bytes[which] <= size for which, size in one.bytes.items())


@given(names, st.integers(1, 7), st.integers(1, 64))
@settings(max_examples=20)
def test_more_cards_never_read_more(name: str, num_cards: int, tokens: int) -> None:
    """An expert of any number of tokens takes no longer on each of more cards."""
    model = load_model(name, "8bit")
    layer = model.moe_layers[0]
    few, many = (
        SlicedCosts(machine=TWO, model=model, num_cards=count, mode=SplitMode.TENSOR)
        .expert("gpu", layer, tokens)
        .ns
        for count in (num_cards, num_cards + 1)
    )
    assert many <= few


@given(names, st.integers(1, 300), st.integers(1, 4096))
@settings(max_examples=20)
def test_one_slice_is_the_model(name: str, tokens: int, context: int) -> None:
    """Of a single card, nothing is split and nothing is exchanged."""
    model = load_model(name)
    assert slice_of(model, 1, SplitMode.TENSOR) == model
    plain = CostModel(machine=TWO, model=model)
    layer = model.moe_layers[-1]
    sliced = SlicedCosts(machine=TWO, model=model, num_cards=1, mode=SplitMode.ROW)
    assert sliced.expert("gpu", layer, tokens).ns == plain.expert("gpu", layer, tokens).ns
    asked = (layer, tokens, 1, context, context + tokens)
    assert sliced.attention("cpu", *asked).ns == plain.attention("cpu", *asked).ns


DISK = {"name": "disk", "bytes_per_s": quantity(5e9), "latency_ns": quantity(1000)}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=9), st.floats(1.1, 8))
@settings(max_examples=40)
def test_reads_of_a_disk_take_its_latency_and_its_rate(sizes: list[int], factor: float) -> None:
    """More bytes never sooner; of a faster disk as many times less, latency aside."""
    slow, fast = (
        disk_read_ns(
            small_machine(disk=DISK | {"bytes_per_s": quantity(rate)}), np.array(sizes, np.int64)
        )
        for rate in (5e9, 5e9 * factor)
    )
    order = np.argsort(sizes)
    assert (np.diff(slow[order]) >= 0).all()
    assert (np.abs((fast - 1000) * factor - (slow - 1000)) <= factor + 1).all()


def _residency(model: Model, random: np.random.Generator) -> Residency:
    held = random.random((model.num_layers, model.num_experts)) < 0.4
    routes = np.array([layer.is_moe for layer in model.layers])
    return Residency(
        experts=held & routes[:, None],
        dense=np.ones(model.num_layers, bool),
        has_embedding=True,
        has_head=True,
        kv=np.ones(model.num_layers, bool),
    )


@given(
    st.sampled_from(sorted({**MODELS, **ODD_MODELS})), st.integers(0, 10**6), st.integers(0, 200)
)
@settings(max_examples=40)
def test_a_shelf_holds_the_most_popular_that_fit(name: str, seed: int, percent: int) -> None:
    """Never more than its room; none that is left out is more popular than one that is held and is
    no larger, those on the GPU last; what is left over is what is held short of the room.
    """
    model = {**MODELS, **ODD_MODELS}[name]
    random = np.random.default_rng(seed)
    residency = _residency(model, random)
    experts = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    stated = RESERVED_BYTES + model.total_bytes - experts + percent * experts // 100
    machine = small_machine()
    machine = machine.model_copy(
        update={
            "cpu": machine.cpu.model_copy(
                update={
                    "memory_bytes": machine.gpu.memory_bytes.model_copy(update={"value": stated})
                }
            )
        }
    )
    popularity = random.random((model.num_layers, model.num_experts))
    shelf = first_shelf(machine, model, residency, popularity)
    sizes = np.array([layer.expert_bytes for layer in model.layers])
    routes = np.array([layer.is_moe for layer in model.layers])
    held = int(shelf.experts.sum(axis=1) @ sizes)
    assert held <= max(shelf.num_bytes, 0)
    assert shelf.left_bytes == shelf.num_bytes - held
    assert not shelf.experts[~routes].any()
    if percent >= 200:
        assert shelf.experts[routes].all()
    away = ~residency.experts & routes[:, None]
    if (shelf.experts & ~away).any():
        assert shelf.experts[away].all()
    elif shelf.experts.any() and (away & ~shelf.experts).any():
        assert popularity[shelf.experts].min() >= popularity[away & ~shelf.experts].max()


@given(st.sampled_from(sorted(MODELS)), st.integers(0, 10**6))
@settings(max_examples=40)
def test_what_lies_behind_the_gpu_is_all_else(name: str, seed: int) -> None:
    """Without copies each weight lies once; with them experts on the GPU lie behind it too."""
    model = MODELS[name]
    residency = _residency(model, np.random.default_rng(seed))
    without = behind_bytes(model, residency, keeps_copies=False)
    with_copies = behind_bytes(model, residency, keeps_copies=True)
    sizes = np.array([layer.expert_bytes for layer in model.layers])
    assert with_copies - without == int(residency.experts.sum(axis=1) @ sizes)
    assert 0 <= without <= with_copies <= model.total_bytes


@given(names, st.integers(1, 6), st.integers(1, 500))
@settings(max_examples=20)
def test_pooled_cards_are_no_slower(name: str, count: int, tokens: int) -> None:
    """As one card with all rates, they run an expert in no more time than one alone."""
    model = load_model(name)
    layer = model.moe_layers[0]
    machines = (load_machine("h100", (f"gpu.count={number}",)) for number in (1, count))
    one, many = (
        CostModel(machine=pooled(machine), model=model).expert("gpu", layer, tokens).ns
        for machine in machines
    )
    assert many <= one


@given(names, st.integers(1, 200), st.integers(1, 4096), st.integers(1, 8))
@settings(max_examples=20)
def test_slower_memory_is_never_faster(name: str, tokens: int, context: int, factor: int) -> None:
    """Experts and attention on either device, by a rate that is so many times lower."""
    model = load_model(name)
    layer = model.moe_layers[-1]
    machine = load_machine("desktop-rtx-3090-ddr4")
    asked = (layer, tokens, 1, context, context + tokens)
    for device in ("gpu", "cpu"):
        part = getattr(machine, device)
        rate = part.memory_bytes_per_s
        slower = load_machine(
            machine.name, (f"{device}.memory_bytes_per_s={rate.effective / factor!r}",)
        )
        usual, slow = (CostModel(machine=each, model=model) for each in (machine, slower))
        assert slow.expert(device, layer, tokens).ns >= usual.expert(device, layer, tokens).ns
        assert slow.attention(device, *asked).ns >= usual.attention(device, *asked).ns
