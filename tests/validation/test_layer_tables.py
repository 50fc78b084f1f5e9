"""Products and attention kernels that others measured, added up to curves of a model's layers."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from hwprofiles import InputError, Kind, Operation, load_machine, machine_data
from hwprofiles.library import parse_machine
from sim.costs.cost_model import CostModel
from sim.model.library import load_model
from validation.kernel_tables import import_layers

pytest.importorskip("pyarrow", reason="tables of Parquet need pyarrow, from the extra `parquet`")

FOLDER = Path("aiconfigurator_core/systems/data/h100_sxm")
TOKENS = (1, 8, 64, 512, 4096)
SIDES = (512, 1024, 2048, 4096, 5120, 8192, 151936)
SLOWER = 1.5
MODEL = "qwen3-30b-a3b"


def _product_ms(tokens: int, inputs: int, outputs: int) -> float:
    """SLOWER times the law of an H100 in 16 bit, in ms."""
    weights = inputs * outputs
    reading = (2 * weights + 2 * tokens * (inputs + outputs)) / (3350e9 * 0.9)
    computing = 2 * tokens * weights / (989.5e12 * 0.7)
    work = max(reading, computing) + 0.26 * min(reading, computing)
    return SLOWER * (work + 3.2e-6) * 1e3


def _write(folder: Path, name: str, rows: Iterable[tuple[object, ...]], columns: str) -> None:
    path = folder / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(list(rows), columns=columns.split()).to_parquet(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tables as the package has them: products, one of them impossibly fast and one in an unknown
    format, and attention of 32 heads over 4.
    """
    products = [
        ("bfloat16", tokens, outputs, inputs, _product_ms(tokens, inputs, outputs))
        for inputs in SIDES
        for outputs in SIDES
        for tokens in TOKENS
    ]
    products += [("bfloat16", 2, 2048, 2048, 1e-6), ("sq", 1, 2048, 2048, 0.1)]
    columns = "gemm_dtype m n k latency"
    _write(tmp_path, "gemm/vllm/0.24.0/gemm_perf.parquet", products, columns)
    slow = [(*row[:4], 2 * float(row[4])) for row in products[:-2]]
    _write(tmp_path, "gemm/sglang/0.5.14/gemm_perf.parquet", slow, columns)
    columns = (
        "batch_size isl num_heads num_key_value_heads head_dim attn_dtype kv_cache_dtype step "
        "window_size latency"
    )
    decode = [(1, 1, 32, 4, 128, "bfloat16", "bfloat16", n - 1, 0, 1e-5 * n) for n in (2, 1024)]
    decode += [(8, 1, 32, 4, 128, "bfloat16", "bfloat16", n - 1, 0, 5e-5 * n) for n in (2, 1024)]
    decode += [(1, 1, 32, 4, 128, "bfloat16", "bfloat16", 511, 128, 1e-5)]
    _write(tmp_path, "attention/vllm/0.24.0/generation_attention_perf.parquet", decode, columns)
    prefill = [(1, n, 32, 4, 128, "bfloat16", "bfloat16", 0, 0, 1e-4 * n) for n in (16, 4096)]
    _write(tmp_path, "attention/vllm/0.24.0/context_attention_perf.parquet", prefill, columns)
    return tmp_path


def test_parts_of_a_layer_are_added_up(folder: Path) -> None:
    """A token's attention is its two products, its kernel over the keys, and the kernels of norms and
    caches; the head its product and a norm.
    """
    machine = load_machine("h100")
    made = import_layers(folder, "h100_sxm", machine, [load_model(MODEL)])
    costs = CostModel(
        machine=made.machine, model=load_model(MODEL), is_fused=True, captures_graphs=True
    )
    parts_ms = _product_ms(1, 2048, 5120) + _product_ms(1, 4096, 2048) + 1e-5 * 1024
    attention = costs.attention("gpu", 0, 1, 1, 1023, 1024)
    assert float(attention.ns) == pytest.approx(1e6 * parts_ms + 3 * 3200, rel=0.03)
    assert attention.provenance.kind is Kind.PUBLISHED and not attention.is_extrapolated.any()
    head = costs.head("gpu", 1)
    assert float(head.ns) == pytest.approx(1e6 * _product_ms(1, 2048, 151936) + 3200, rel=0.03)
    kinds = [curve.operation for curve in made.machine.curves if "sequences" in curve.shape]
    assert kinds.count(Operation.ATTENTION_DECODE) == 2
    assert kinds.count(Operation.ATTENTION_PREFILL) == 1
    parse_machine(machine_data(made.machine), "again")


def test_shapes_left_out_are_predicted_by_the_others(folder: Path) -> None:
    """Every product takes SLOWER times the law: the nearest shape says so, where the law is a third
    off; the fastest framework counts, and what is faster than the peak does not.
    """
    made = import_layers(folder, "h100_sxm", load_machine("h100"), [load_model(MODEL)])
    (errors,) = made.errors
    assert (errors.dtype, errors.num_shapes, errors.num_dropped) == ("bf16", len(SIDES) ** 2, 1)
    assert errors.law[0] == pytest.approx(1 - 1 / SLOWER, abs=0.01)
    assert errors.left_out[0] < 0.01
    for word in ("Apache-2.0", "vllm 0.24.0", "h100_sxm"):
        assert word in made.source
    assert "sglang" not in made.source


def test_what_has_no_curve_is_named(folder: Path) -> None:
    """Latent attention, heads that were not measured, and a format without products."""
    machine = load_machine("h100")
    names = ["deepseek-v2-lite", "mixtral-8x7b"]
    made = import_layers(folder, "h100_sxm", machine, [load_model(name) for name in names])
    words = "; ".join(made.left_out)
    assert "deepseek-v2-lite, attention of layer 0: its keys are windowed" in words
    assert "mixtral-8x7b, attention of layer 0: no attention of 32 heads, 8 of keys" in words
    packed = load_model(MODEL, "fp8")
    made = import_layers(folder, "h100_sxm", machine, [packed])
    assert made.left_out == (f"{MODEL}, attention of layer 0: no products in fp8",)


def test_a_table_that_lacks_a_column_is_named(folder: Path) -> None:
    """One line with the file and the column."""
    _write(folder, "gemm/trtllm/1.0/gemm_perf.parquet", [(1, 1, 1.0)], "m n latency")
    with pytest.raises(InputError, match=r"trtllm/1\.0/gemm_perf\.parquet lacks .*gemm_dtype, k"):
        import_layers(folder, "h100_sxm", load_machine("h100"), [load_model(MODEL)])
    with pytest.raises(InputError, match="no system 'h100'; did you mean 'h100_sxm'"):
        import_layers(folder, "h100", load_machine("h100"), [load_model(MODEL)])
