"""Laws of formats: whole blocks, bytes that add up, and types by tensor that agree with formats."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.model.model import TensorClass
from sim.model.quantization import FORMATS, class_bytes
from sim.model.storage_types import STORAGE_TYPES
from sim.serving.lines import pipelined

FORMAT = st.sampled_from(sorted(FORMATS)).map(FORMATS.get)
COUNTS = st.integers(0, 10**12)


@given(FORMAT, COUNTS, COUNTS)
@settings(max_examples=100)
def test_blocks_are_whole(form, one, other):  # type: ignore[no-untyped-def]
    """Bytes grow with weights, are whole blocks, and of both together no more than of each alone."""
    sizes = [form.num_bytes(count) for count in (one, other, one + other)]
    assert all(size % form.block_bytes == 0 for size in sizes)
    assert max(sizes[:2]) <= sizes[2] <= sizes[0] + sizes[1]
    assert one * form.bytes_per_weight <= sizes[0] * (1 + 1e-12)
    assert sizes[0] < one * form.bytes_per_weight + form.block_bytes + 1e-3 * one + 1


@given(
    st.dictionaries(st.sampled_from(list(TensorClass)), COUNTS, min_size=1),
    st.sampled_from(sorted(FORMATS)),
)
@settings(max_examples=60)
def test_classes_are_stored_apart(params: dict[TensorClass, int], name: str) -> None:
    """Each class in its own blocks; a format that nobody knows is refused with those that are."""
    dtypes = dict.fromkeys(params, name)
    found = class_bytes(params, dtypes)
    assert found == {each: FORMATS[name].num_bytes(count) for each, count in params.items()}
    with pytest.raises(InputError, match="no storage format named 'none'; known: "):
        class_bytes(params, {**dtypes, next(iter(params)): "none"})


TYPES = st.sampled_from(sorted(STORAGE_TYPES)).map(STORAGE_TYPES.get)


@given(TYPES, st.integers(1, 64), st.integers(1, 500), st.integers(1, 500))
@settings(max_examples=100)
def test_rows_of_a_tensor_add_up(kind, blocks, rows, more):  # type: ignore[no-untyped-def]
    """A tensor of so many rows is as large as its parts, but for the one type with a scale for all."""
    if kind.name == "i2_s":
        return
    width = blocks * kind.block
    whole = kind.size((width, rows + more))
    assert whole == kind.size((width, rows)) + kind.size((width, more))
    assert kind.size((width, rows, more)) == kind.size((width, rows * more))
    assert whole == (rows + more) * (blocks * kind.num_bytes + kind.row_bytes)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=12), st.integers(1, 9))
@settings(max_examples=100)
def test_a_pipeline_lies_between_its_longest_work_and_all(works: list[int], stages: int) -> None:
    """One stage is the sum; more stages never take longer, and never less than the sum over stages
    or the longest work.
    """
    found = pipelined(works, stages)
    assert pipelined(works, 1) == sum(works)
    assert pipelined(works, stages + 1) <= found
    assert found >= max(max(works), sum(works) // stages)
    # The recurrence: stage s of work n begins when both stage s - 1 of n and stage s of n - 1 ended.
    ends = [0.0] * stages
    for work in works:
        before = 0.0
        for stage in range(stages):
            ends[stage] = max(ends[stage], before) + work / stages
            before = ends[stage]
    assert found == pytest.approx(ends[-1], abs=1)
