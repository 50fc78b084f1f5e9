"""Tensors of a GGUF file placed by arguments: the bytes that llama.cpp itself prints."""

from pathlib import Path

import numpy as np
import pytest

from hwprofiles import InputError
from hwprofiles.units import MIB
from sim.model.library import load_model
from sim.runtimes.gguf_tensors import tensors_of
from sim.runtimes.llama_cpp import read_llama_arguments
from sim.runtimes.llama_cpp.placement import place
from sim.runtimes.tensors import TensorPart
from tests.sim.gguf_files import MadeFile, TableRow

F32, Q8_0, Q4_K, Q6_K = 0, 8, 12, 14
LAYERS, EXPERTS, HIDDEN, WIDTH, VOCAB = 48, 128, 2048, 768, 151936


def _layer(index: int, down: int = Q4_K) -> list[TableRow]:
    """A layer of Qwen3-30B-A3B, its attention in 8 bits, its experts in 4."""
    shapes = {
        "attn_norm": ((HIDDEN,), F32),
        "attn_q": ((HIDDEN, 4096), Q8_0),
        "attn_k": ((HIDDEN, 512), Q8_0),
        "attn_v": ((HIDDEN, 512), Q8_0),
        "attn_output": ((4096, HIDDEN), Q8_0),
        "attn_q_norm": ((128,), F32),
        "attn_k_norm": ((128,), F32),
        "ffn_norm": ((HIDDEN,), F32),
        "ffn_gate_inp": ((HIDDEN, EXPERTS), F32),
        "ffn_down_exps": ((WIDTH, HIDDEN, EXPERTS), down),
        "ffn_gate_exps": ((HIDDEN, WIDTH, EXPERTS), Q4_K),
        "ffn_up_exps": ((HIDDEN, WIDTH, EXPERTS), Q4_K),
    }
    return [
        TableRow(f"blk.{index}.{name}.weight", shape, kind)
        for name, (shape, kind) in shapes.items()
    ]


def write_qwen_header(path: Path, down_of_even_layers: int = Q4_K) -> Path:
    """The header of a file of Qwen3-30B-A3B, without data."""
    keys = {
        "block_count": LAYERS,
        "context_length": 40960,
        "embedding_length": HIDDEN,
        "feed_forward_length": 6144,
        "attention.head_count": 32,
        "attention.head_count_kv": 4,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "expert_count": EXPERTS,
        "expert_used_count": 8,
        "expert_feed_forward_length": WIDTH,
    }
    rows = [
        TableRow("token_embd.weight", (HIDDEN, VOCAB), Q8_0),
        TableRow("output_norm.weight", (HIDDEN,)),
        TableRow("output.weight", (HIDDEN, VOCAB), Q8_0),
    ]
    for index in range(LAYERS):
        rows += _layer(index, Q4_K if index % 2 else down_of_even_layers)
    metadata = {"general.architecture": "qwen3moe", "general.name": "made"}
    made = MadeFile(metadata | {f"qwen3moe.{key}": value for key, value in keys.items()}, (*rows,))
    path.write_bytes(made.content())
    return path


@pytest.mark.parametrize(
    ("line", "gpu_mib", "host_mib"),
    [
        ("-ngl 99 -ncmoe 20 --no-repack", 10354, 6795),
        ("-ngl 24", 8230, 8918),
        ("-ngl 99 -cmoe", 1282, None),
    ],
)
def test_bytes_by_device_are_those_of_llama_fit_params(
    line: str, gpu_mib: int, host_mib: int | None, tmp_path: Path
) -> None:
    """A file of Qwen3-30B-A3B: what ``llama-fit-params -fitp on`` of 0c1e57098 printed, in MiB."""
    path = write_qwen_header(tmp_path / "qwen.gguf")
    model = load_model(str(path))
    tensors = tensors_of(model, str(path), None)
    placed = place(model, read_llama_arguments(line), [24e9], tensors)
    assert int(placed.weight_bytes[1] // MIB) == gpu_mib
    if host_mib is not None:
        assert int(placed.weight_bytes[0] // MIB) == host_mib


def test_matrices_have_their_own_bytes(tmp_path: Path) -> None:
    """Where down is stored in more bits than gate and up, its share of the layer says so."""
    path = write_qwen_header(tmp_path / "mixed.gguf", down_of_even_layers=Q6_K)
    model = load_model(str(path))
    tensors = tensors_of(model, str(path), None)
    sizes = {tensor.part: tensor.num_bytes for tensor in tensors[0]}
    assert sizes[TensorPart.EXPERT_DOWN] == pytest.approx(sizes[TensorPart.EXPERT_UP] * 210 / 144)
    arguments = read_llama_arguments("-ngl 99 -ot ffn_down_exps=CPU")
    placed = place(model, arguments, [24e9], tensors)
    assert placed.expert_fraction[0, 0] == pytest.approx(210 / (210 + 2 * 144))
    assert placed.expert_fraction[1, 0] == pytest.approx(1 / 3)
    total = sum(tensor.num_bytes for layer in tensors for tensor in layer)
    top = sum(model.top_bytes.values())
    assert np.sum(placed.weight_bytes) == pytest.approx(total + top, rel=1e-5)


def test_layers_have_all_tensors_in_the_order_of_work(tmp_path: Path) -> None:
    """Attention, router, then the matrices of experts."""
    path = write_qwen_header(tmp_path / "qwen.gguf")
    [*_, last] = tensors_of(load_model(str(path)), str(path), None)
    parts = [tensor.part for tensor in last]
    assert len(last) == 12
    assert parts == sorted(parts, key=list(TensorPart).index)
    assert last[-1].name == "blk.47.ffn_down_exps.weight"


def test_another_quantisation_has_no_file(tmp_path: Path) -> None:
    """Weights in another scheme are not those of the file: classes are shared out."""
    path = write_qwen_header(tmp_path / "qwen.gguf")
    tensors = tensors_of(load_model(str(path), "Q8_0"), str(path), "Q8_0")
    assert len({tensor.num_bytes for tensor in tensors[0] if "exps" in tensor.name}) == 1


def test_experts_one_by_one_are_refused(tmp_path: Path) -> None:
    """Files with a tensor for each expert are of programs long gone."""
    path = tmp_path / "old.gguf"
    rows = (TableRow("blk.0.ffn_gate.0.weight", (256, 256)),)
    path.write_bytes(MadeFile({"general.architecture": "llama"}, rows).content())
    from sim.runtimes.gguf_tensors import tensors_of_file

    with pytest.raises(InputError, match="one by one"):
        tensors_of_file(path, 1)
