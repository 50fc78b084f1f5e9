"""Small GGUF files with random weights: valid blocks, exact bytes, plain errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from hwprofiles import InputError
from sim.model.importers.gguf import model_from_gguf
from sim.model.model import TensorClass
from tests.validation.llama_cpp.small_files import TINY
from validation.runtimes.llama_cpp import (
    WeightFormats,
    copy_sparse,
    file_bytes,
    small_shape,
    write_random_gguf,
)
from validation.runtimes.llama_cpp.random_blocks import FIXED_BYTES
from validation.runtimes.llama_cpp.random_file import set_top_k

SMALL_WEIGHT = 8.0
"""Weights of random blocks stay below this: their scales are fixed and small."""


@pytest.mark.parametrize("name", FIXED_BYTES)
def test_weights_of_every_format_are_finite_and_differ(name: str, tmp_path: Path) -> None:
    """What gguf-py unpacks from a file's blocks are small numbers, and not all alike."""
    path = write_random_gguf(TINY, WeightFormats(experts=name), tmp_path / "random.gguf")
    tensor = next(
        item for item in GGUFReader(path).tensors if item.name == "blk.0.ffn_up_exps.weight"
    )
    try:
        weights = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        pytest.skip(f"gguf-py does not unpack {name}")
    assert np.all(np.isfinite(weights))
    assert np.max(np.abs(weights)) < SMALL_WEIGHT
    assert len(np.unique(weights)) > 2


@pytest.mark.parametrize("name", ["q8_0", "q4_k", "bf16", "mxfp4"])
def test_the_importer_reads_the_bytes_that_were_asked_for(name: str, tmp_path: Path) -> None:
    """Rosin's importer finds the shape, the formats and every byte."""
    formats = WeightFormats(experts=name, dense="q8_0")
    path = write_random_gguf(TINY, formats, tmp_path / "random.gguf")
    model = model_from_gguf(path)
    assert (model.num_layers, model.hidden, model.num_experts, model.top_k) == (2, 256, 4, 2)
    assert model.dtypes[TensorClass.EXPERT] == name
    assert model.dtypes[TensorClass.ATTENTION] == "q8_0"
    assert model.total_bytes == file_bytes(TINY, formats)


def test_a_sparse_file_has_the_same_table_and_takes_no_room(tmp_path: Path) -> None:
    """Its header is whole and its data a hole, so that a large model can be placed by it."""
    wide = replace(TINY, expert_intermediate=4096, num_experts=64)
    path = write_random_gguf(
        wide, WeightFormats(experts="q8_0"), tmp_path / "a.gguf", is_sparse=True
    )
    assert model_from_gguf(path).total_bytes == file_bytes(wide, WeightFormats(experts="q8_0"))
    assert path.stat().st_blocks * 512 < path.stat().st_size / 10


def test_a_sparse_copy_is_read_as_the_file(tmp_path: Path) -> None:
    """A copy with a hole for its weights says the same of the model."""
    path = write_random_gguf(TINY, WeightFormats(experts="q8_0"), tmp_path / "a.gguf")
    copy = copy_sparse(path, tmp_path / "b.gguf")
    assert model_from_gguf(copy).total_bytes == model_from_gguf(path).total_bytes
    assert copy.stat().st_size == path.stat().st_size


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    """Weights depend on the seed alone."""
    paths = [
        write_random_gguf(
            TINY, WeightFormats(experts="q4_k"), tmp_path / f"{index}.gguf", seed=seed
        )
        for index, seed in enumerate((1, 1, 2))
    ]
    first, second, other = (path.read_bytes() for path in paths)
    assert first == second != other


def test_experts_a_token_can_be_changed(tmp_path: Path) -> None:
    """The number stands in the header, and nothing else changes."""
    path = write_random_gguf(TINY, WeightFormats(experts="q8_0"), tmp_path / "a.gguf")
    before = model_from_gguf(path)
    set_top_k(path, 1)
    after = model_from_gguf(path)
    assert (before.top_k, after.top_k) == (2, 1)
    assert before.total_bytes == after.total_bytes


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        (WeightFormats(experts="q4_x"), "no format of GGUF files named 'q4_x'"),
        (WeightFormats(experts="q4_k"), "must be a multiple of 256 for q4_k, got 192"),
    ],
)
def test_wrong_formats_are_refused(formats: WeightFormats, said: str, tmp_path: Path) -> None:
    """An unknown format, and rows that are no whole blocks, are errors in a line."""
    odd = replace(TINY, expert_intermediate=192)
    with pytest.raises(InputError, match=said):
        write_random_gguf(odd, formats, tmp_path / "a.gguf")


def test_a_models_shape_is_cut_down() -> None:
    """A small file keeps what kernels see, and has fewer layers and experts."""
    from sim.model.library import load_model

    shape = small_shape(load_model("qwen3-30b-a3b"))
    assert (shape.hidden, shape.expert_intermediate, shape.top_k) == (2048, 768, 8)
    assert shape.num_layers < 48
    assert file_bytes(shape, WeightFormats(experts="bf16")) < 500e6


def test_a_dense_model_has_no_shape() -> None:
    """Only routed experts are measured; a model without them is an error that says so."""
    from sim.model.library import load_model

    moe = load_model("granite-3-1b-a400m")
    dense = replace(moe, layers=tuple(replace(one, num_experts=0, top_k=0) for one in moe.layers))
    with pytest.raises(InputError, match="no routed experts"):
        small_shape(dense)
