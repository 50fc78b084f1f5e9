"""Kernels that others measured, read into a machine file."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hwprofiles import InputError, Kind, Machine, Operation, load_machine, machine_data
from hwprofiles.library import parse_machine
from sim.costs.cost_model import CostModel
from sim.model.library import load_model
from validation.kernel_tables import (
    aiconfigurator_rows,
    llmservingsim_rows,
    with_freetoken_profile,
    with_grouped_curves,
)
from validation.kernel_tables.grouped_rows import ExpertShape, GroupedRow, without_slow_kernels
from validation.kernel_tables.import_curves import thinned

SHAPES = ((2048, 768, 128, 8), (4096, 1536, 128, 8), (4096, 14336, 8, 2))
TOKENS = (1, 4, 16, 64, 256, 1024)
PATH = "aiconfigurator_core/systems/data/h100_sxm/moe/vllm/0.24.0/moe_perf.parquet"
PYARROW = "tables of Parquet need pyarrow, from the extra `parquet`"


def _table(slower: float) -> pd.DataFrame:
    """Calls that take so many times what the machine file's law says, and one of an impossible
    rate.
    """
    rows = []
    for hidden, inter, experts, top_k in SHAPES:
        weights = 3 * hidden * inter
        for tokens in TOKENS:
            activated = min(experts, tokens * top_k)
            num_bytes = 2 * activated * weights
            flops = 2 * tokens * top_k * weights
            law = num_bytes / (3350e9 * 0.9) + 0.26 * flops / (989.5e12 * 0.7)
            rows.append((tokens, hidden, inter, top_k, experts, slower * law * 1e3 + 0.0224))
    rows.append((1, 2048, 768, 8, 128, 0.001))
    names = ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "latency"]
    table = pd.DataFrame(rows, columns=names)
    table.loc[table.index[-1], "num_experts"] = 64
    table["moe_dtype"] = "bfloat16"
    table["distribution"] = "balanced"
    return table.assign(moe_tp_size=1, moe_ep_size=1)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with one table of an H100 whose calls take 1.5 times the law."""
    pytest.importorskip("pyarrow", reason=PYARROW)
    path = tmp_path / "aiconfigurator_core-0.12.0-py3-none-any.whl"
    table = tmp_path / "t.parquet"
    _table(1.5).to_parquet(table)
    with zipfile.ZipFile(path, "w") as made:
        made.write(table, PATH)
    return path


def test_a_wheel_becomes_curves_of_experts_in_a_call(wheel: Path) -> None:
    """A curve a shape, of published numbers with framework, version and licence; the row above the
    card's peak is dropped.
    """
    rows = aiconfigurator_rows(wheel, "h100_sxm")
    assert len(rows.rows) == len(SHAPES) * len(TOKENS) + 1
    made = with_grouped_curves(load_machine("h100"), rows)
    (errors,) = made.errors
    assert (errors.num_rows, errors.num_dropped, errors.num_shapes) == (18, 1, 3)
    assert "of 19 rows in bf16 1 dropped" in made.machine.curves[0].source
    curves = [one for one in made.machine.curves if one.operation is Operation.EXPERT_IN_GROUP]
    assert [curve.shape["intermediate"] for curve in curves] == [768, 1536, 14336]
    for word in ("0.12.0", "Apache-2.0", "vllm 0.24.0"):
        assert word in curves[0].source


def test_rows_that_cannot_be_are_counted(tmp_path: Path) -> None:
    """A row without a time, one without tokens and one of more selected experts than there are: all
    three are left out, and the result says how many.
    """
    pytest.importorskip("pyarrow", reason=PYARROW)
    table = _table(1.5)
    broken = pd.concat([table.iloc[:3], table]).reset_index(drop=True)
    broken.loc[0, "latency"] = float("nan")
    broken.loc[1, "num_tokens"] = 0
    broken.loc[2, "topk"] = 129
    path = tmp_path / PATH
    path.parent.mkdir(parents=True)
    broken.to_parquet(path)
    rows = aiconfigurator_rows(tmp_path, "h100_sxm")
    assert len(rows.rows) == len(SHAPES) * len(TOKENS) + 1
    assert "3 rows without a size or a time" in rows.passed_over


def test_shapes_that_were_not_measured_take_the_nearest_curve(wheel: Path) -> None:
    """All calls are 1.5 times slower than the law: leaving a shape out, the others say so; the file
    keeps it.
    """
    made = with_grouped_curves(load_machine("h100"), aiconfigurator_rows(wheel, "h100_sxm"))
    (errors,) = made.errors
    assert errors.law[0] > 0.2
    assert errors.left_out is not None and errors.left_out[0] < 0.08
    assert errors.covers_other_shapes
    again = parse_machine(machine_data(made.machine), "again")
    assert all(curve.covers_other_shapes for curve in again.curves)
    model = load_model("qwen3-235b-a22b", "16bit")
    assert _in_call(again, model) == pytest.approx(1.5 * _in_call(load_machine("h100"), model), 0.1)


def _in_call(machine: Machine, model: Any) -> float:
    costs = CostModel(machine=machine, model=model, is_fused=True, captures_graphs=True)
    return float(costs.in_groups().expert("gpu", model.moe_layers[0], 4).ns)


def test_curves_that_cover_no_other_shape_change_none(wheel: Path) -> None:
    """An expert of another shape, and one outside a call, cost what they did."""
    plain = load_machine("h100")
    made = with_grouped_curves(plain, aiconfigurator_rows(wheel, "h100_sxm")).machine
    narrow = made.model_copy(
        update={
            "curves": tuple(
                curve.model_copy(update={"covers_other_shapes": False}) for curve in made.curves
            )
        }
    )
    model = load_model("deepseek-v2-lite", "16bit")
    assert _in_call(narrow, model) == _in_call(plain, model)
    alone = [CostModel(machine=one, model=model).expert("gpu", 1, 4).ns for one in (made, plain)]
    assert alone[0] == alone[1]


def test_a_wrong_system_or_file_is_named(wheel: Path, tmp_path: Path) -> None:
    """One line with what there is."""
    with pytest.raises(InputError, match=r"no system 'h100'; did you mean 'h100_sxm'"):
        aiconfigurator_rows(wheel, "h100")
    (tmp_path / "x.whl").write_text("no archive")
    with pytest.raises(InputError, match="no folder and no wheel"):
        aiconfigurator_rows(tmp_path / "x.whl", "h100_sxm")
    with pytest.raises(InputError, match="it has no moe_perf"):
        aiconfigurator_rows(tmp_path, "h100_sxm")


def test_tables_by_activated_experts(tmp_path: Path) -> None:
    """LLMServingSim's rows name tokens and activated experts; the model gives the shape, and rules
    out counts.
    """
    folder = tmp_path / "RTXPRO6000" / "Qwen" / "Qwen3-30B" / "bf16"
    (folder / "tp1").mkdir(parents=True)
    (folder / "meta.yaml").write_text("model: Qwen/Qwen3-30B\nvllm_version: 0.19.0\n")
    table = folder / "tp1" / "moe.csv"
    table.write_text("tokens,activated_experts,time_us\n1,8,80\n2,8,81\n2,16,135\n64,128,830\n")
    rows = llmservingsim_rows(folder, load_model("qwen3-30b-a3b"))
    assert [row.tokens_per_expert for row in rows.rows] == [1, 2, 1, 4]
    assert "RTXPRO6000 (MIT)" in rows.source
    with pytest.raises(InputError, match=r"moe\.csv:2: 1 tokens .* activate 2 to 2, got 8"):
        llmservingsim_rows(folder, load_model("mixtral-8x7b"))


PROFILE = {
    "version": 4,
    "timestamp": "2026-08-20T11:00:00",
    "gpu": {"index": 0, "name": "NVIDIA GeForce RTX 3090"},
    "ceilings": {
        "cpu_stream_read_gbs": 62.5,
        "pcie_linear_h2d_gbs": 12.3,
        "pcie_linear_d2h_gbs": 13.1,
    },
    "dtype_kernels": {
        "bf16": {
            "cpu_moe_gbs": 56.2,
            "pcie_gather_gbs": 12.0,
            "cpu_moe_overlap_gbs": 42.15,
            "pcie_gather_overlap_gbs": 9.0,
        }
    },
    "workloads": {
        "m": {
            "model": {"name": "m", "hidden": 2048, "inter": 768, "experts": 128, "top_k": 8},
            "kernels": {"nvfp4": {"cpu_moe_gbs": 50.0, "expert_bytes": 2_654_208}},
        }
    },
}


def test_a_freetoken_profile_replaces_rates(tmp_path: Path) -> None:
    """Rates of memory and link, an expert on the CPU, and what copies and CPU leave each other."""
    path = tmp_path / "benchbw.json"
    path.write_text(json.dumps(PROFILE))
    found = with_freetoken_profile(load_machine("desktop-rtx-3090-ddr4"), path)
    made = found.machine
    assert made.cpu.memory_bytes_per_s.effective == 62.5e9
    assert made.link.h2d.bytes_per_s.effective == 12.3e9
    assert made.link.d2h.bytes_per_s.effective == 13.1e9
    (curve,) = [one for one in made.curves if one.device == "cpu" and one.dtype == "nvfp4"]
    assert curve.points[0][1] == round(2_654_208 / 50e9 * 1e9)
    shares = {(one.busy, one.slows): one.rate_fraction.effective for one in made.interference}
    assert shares["h2d", "cpu"] == pytest.approx(0.75)
    assert shares["cpu", "h2d"] == pytest.approx(0.75)
    assert len(found.read) == 4
    assert found.passed_over == ()
    parse_machine(machine_data(made), "again")


def test_what_is_no_rate_is_named(tmp_path: Path) -> None:
    """A rate in another unit and one in words are left out and said; null was not measured."""
    ceilings = PROFILE["ceilings"] | {"pcie_linear_h2d_gbs": 1.23e10, "pcie_linear_d2h_gbs": None}
    kernels = {"bf16": {"cpu_moe_gbs": "fast"}}
    path = tmp_path / "benchbw.json"
    path.write_text(json.dumps(PROFILE | {"ceilings": ceilings, "dtype_kernels": kernels}))
    machine = load_machine("desktop-rtx-3090-ddr4")
    found = with_freetoken_profile(machine, path)
    assert found.passed_over == (
        "ceilings.pcie_linear_h2d_gbs: 12300000000.0",
        "dtype_kernels.bf16.cpu_moe_gbs: fast",
    )
    assert found.machine.link == machine.link


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"gpu": {}, "ceilings": {}}', '{"gpu": 1}'])
def test_another_file_is_no_profile(tmp_path: Path, text: str) -> None:
    """One line that names the file."""
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        with_freetoken_profile(load_machine("h100"), path)


def _timed(framework: str, dtype: str, hidden: int, ns: float) -> list[GroupedRow]:
    shape = ExpertShape(hidden=hidden, intermediate=768, num_experts=128, top_k=8)
    return [
        GroupedRow(
            dtype=dtype, shape=shape, tokens=tokens, num_activated=128, ns=ns, framework=framework
        )
        for tokens in range(16, 36)
    ]


def test_a_slow_kernel_says_nothing_of_a_card() -> None:
    """Its framework is left out in that format alone, also where it alone measured a shape; one that
    is slower by less, or that no other can be held against, stays.
    """
    fast = _timed("a", "int4", 2048, 100) + _timed("a", "fp8", 2048, 100)
    slow = _timed("b", "int4", 2048, 300) + _timed("b", "int4", 4096, 600)
    other = _timed("b", "fp8", 2048, 190) + _timed("c", "mxfp4", 2880, 100)
    kept, said = without_slow_kernels([*fast, *slow, *other])
    assert list(kept) == [*fast, *other]
    assert said == ("b in int4",)


def test_points_on_a_line_are_left_out() -> None:
    """Of a curve those points stay that a line between their neighbours would miss."""
    straight = [(float(2**power), 10.0 * 2**power) for power in range(8)]
    assert thinned(straight) == (straight[0], straight[-1])
    bent = [*straight[:4], (12.0, 400.0), *straight[4:]]
    assert (12.0, 400.0) in thinned(bent)
    assert thinned(straight[:1]) == tuple(straight[:1])


@pytest.mark.parametrize("name", ["a100-80", "h100", "h200", "b200", "l40s", "rtx-pro-6000"])
def test_shipped_cards_carry_published_curves(name: str) -> None:
    """Each with framework, version, licence, and how many rows were dropped."""
    curves = load_machine(name).curves
    assert {"bf16", "int4"} <= {curve.dtype for curve in curves}
    for curve in curves:
        assert curve.operation is Operation.EXPERT_IN_GROUP and curve.kind is Kind.PUBLISHED
        for word in ("aiconfigurator-core 0.11.0", "Apache-2.0", "vllm 0.", "dropped"):
            assert word in curve.source


def test_a_faster_card_is_faster_where_curves_ship() -> None:
    """Twice the memory rate of an H100 takes less than 0.7 of the time of an expert over a token."""
    model = load_model("qwen3-30b-a3b", "16bit")
    usual = load_machine("h100", ["gpu.memory_bytes_per_s=3.015e12"])
    faster = load_machine("h100", ["gpu.memory_bytes_per_s=6.03e12"])
    assert _in_call(faster, model) < 0.7 * _in_call(usual, model)
    assert _in_call(load_machine("h100"), model) == pytest.approx(_in_call(usual, model), 0.15)
