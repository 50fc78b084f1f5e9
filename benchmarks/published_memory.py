"""Compare predicted with printed GPU memory, and list published runs that would be refused.

    python benchmarks/published_memory.py

The benchmark reads memory.csv (bytes that engines print) and rows.csv (runs that worked) of
../shared/data/runtimes, which are not part of the project. Weights come from each row's bytes per
weight. KV cache, compute buffers and CUDA context are those of the default rule.
"""

import csv
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import InputError, Kind
from hwprofiles.units import GB, MIB
from sim.costs.compute_buffers import MICRO_BATCH_TOKENS, compute_buffer_bytes
from sim.costs.memory import CUDA_CONTEXT_BYTES
from sim.model.library import load_model
from sim.model.model import Model, TensorClass

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "runtimes"
Row = Mapping[str, str]

CARDS_MIB = {
    "RTX 3070": 7982,
    "RTX 3090": 24268,
    "RTX 3090 Ti": 24268,
    "RTX 4080": 15981,
    "RTX 4090": 24217,
    "RTX 4090D": 24217,
    "RTX 5090": 32102,
    "RTX A6000": 48685,
    "RTX PRO 6000": 97247,
    "Tesla P100 16GB": 16280,
}
"""MiB that CUDA reports, by card.

Some figures come from the machine files of this project. Others come from logs of Ultralytics in
public repositories ('NVIDIA RTX A6000, 48685.3125MB', 'Tesla P100-PCIE-16GB, 16280.875MB'), and of
llama.cpp (RTX PRO 6000, pull request 23604). RTX 3070 and 4080 have 97.5 % of the stated size, the
least share of the other cards. RTX 3090 Ti and 4090D are taken to be as their sisters of as many
GiB.
"""

Q8_0_SHARE = 34 / 64
"""Bytes of a q8_0 cache over those of an f16 cache: blocks of 32 values with a 16-bit scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes that a run takes on all its GPUs together; one of the GPUs has the head."""

    num_gpus: int
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        """All bytes, with a CUDA context on each GPU."""
        return (
            self.weight_bytes
            + self.kv_bytes
            + self.compute_bytes
            + self.num_gpus * CUDA_CONTEXT_BYTES
        )


def main() -> None:
    """Print the table of printed and predicted bytes, then the runs that would be refused."""
    print(f"{'row':>10} {'item':>8} {'printed MiB':>12} {'predicted':>10} {'error':>7}")
    for row, item, printed, predicted in printed_items():
        print(
            f"{row:>10} {item:>8} {printed / MIB:>12,.0f} {predicted / MIB:>10,.0f} {predicted / printed - 1:>+7.1%}"
        )
    checked = list(fits())
    refused = [(row, over) for row, over in checked if over > 0]
    print(
        f"\n{len(checked)} published runs with experts of whole layers on GPUs; {len(refused)} would be refused"
    )
    for run, over in refused:
        print(
            f"{run['id']}: {run['model']} on {run['machine'].split(' + ')[0]} by {over / GB:.2f} GB"
        )


def printed_items() -> Iterator[tuple[str, str, int, int]]:
    """Yield row, item, printed and predicted bytes of memory.csv, summed over a row's GPUs."""
    for row in _read("memory.csv"):
        memory = memory_of(row)
        if memory is None:
            continue
        if row["gpu_expert_layers"] and memory.num_gpus == 1:
            yield from _printed(row, "weights", memory.weight_bytes)
        yield from _printed(row, "kv", memory.kv_bytes)
        yield from _printed(row, "compute", memory.compute_bytes + _op_offload_bytes(row))
        if row["runtime"] == "llama.cpp" and row["total_gpu_bytes"] and row["context_tokens"]:
            yield (
                row["id"],
                "in use",
                int(row["total_gpu_bytes"]),
                memory.total_bytes + _op_offload_bytes(row),
            )


def _printed(row: Row, item: str, predicted: int) -> Iterator[tuple[str, str, int, int]]:
    found = [int(row[key]) for key in row if re.fullmatch(rf"{item}_gpu\d_bytes", key) and row[key]]
    if found:
        yield row["id"], item, sum(found), predicted


def fits() -> Iterator[tuple[Row, int]]:
    """Yield the rows of rows.csv that say enough, each with the bytes that its GPUs lack.

    The bytes are negative if the run fits.
    """
    for row in _read("rows.csv"):
        memory = memory_of(row) if row["gpu_expert_layers"] else None
        card = CARDS_MIB.get(_card(row)[1])
        if memory is not None and card is not None:
            yield row, memory.total_bytes - memory.num_gpus * card * MIB


def memory_of(row: Row) -> Memory | None:
    """Return the memory of a row's run.

    Return None if its model or its bytes per weight are not known here.
    """
    try:
        model = load_model(row["model"])
    except InputError:
        return None
    if not row["bytes_per_weight"]:
        return None
    num_gpus, _ = _card(row)
    context = context_tokens(row)
    micro_batch = int(_option(row, "ub") or MICRO_BATCH_TOKENS)
    share = Q8_0_SHARE if _option(row, "ctk") == "q8_0" else 1.0
    return Memory(
        num_gpus=num_gpus,
        weight_bytes=_weight_bytes(row, model),
        kv_bytes=round(model.kv_bytes(context) * share) if _has_layers(row) else 0,
        compute_bytes=sum(
            compute_buffer_bytes(
                model, max(1, min(micro_batch, context)), context, has_head=gpu == 0
            )
            for gpu in range(num_gpus)
        ),
    )


def context_tokens(row: Row) -> int:
    """Return the reserved context in tokens.

    For memory.csv, it is the typed or stated one. For rows.csv, it is the typed one, else the
    tokens that the run used.
    """
    stated = _option(row, "c") or (
        row.get("context_tokens") if "weights_gpu0_bytes" in row else None
    )
    if stated:
        return int(stated)
    return sum(
        int(row.get(key) or 0) for key in ("prompt_tokens", "context_tokens", "output_tokens")
    )


def _experts_of_mix(row: Row) -> int | None:
    """Return the bytes of the experts of the layers that a row names, by its mixed scheme.

    A mixed scheme gives some layers more bits than the mean. Return None if the rule of the scheme
    is not known, or if the row does not name its layers.
    """
    named = [int(index) for index in re.findall(r"blk\\\.(\d+)\\\.ffn_", row["args"])]
    try:
        model = load_model(row["model"], row["quantization"])
    except InputError:
        return None
    is_known = model.provenance.kind is not Kind.ASSUMED
    if not is_known or len(named) != int(row["gpu_expert_layers"] or 0):
        return None
    layers = [model.layers[index] for index in named]
    return sum(layer.num_experts * layer.expert_bytes for layer in layers) or None


def _weight_bytes(row: Row, model: Model) -> int:
    """Return the bytes of weights on the GPUs.

    The GPUs hold the dense parts with the head, and the routed experts of as many layers as the row
    says.
    """
    per_weight = {
        name: float(size)
        for name, _, size in (part.partition("=") for part in row["bytes_per_weight"].split(";"))
    }
    head = model.top_params.get(TensorClass.HEAD) or model.top_params[TensorClass.EMBEDDING]
    dense = head + sum(layer.dense_params for layer in model.layers)
    experts = max(
        layer.num_experts * layer.params.get(TensorClass.EXPERT, 0) for layer in model.layers
    )
    of_mix = _experts_of_mix(row)
    on_gpu = of_mix or int(row["gpu_expert_layers"] or 0) * experts * per_weight["experts"]
    rest = dense * per_weight.get("dense", per_weight["experts"])
    return round(on_gpu + (rest if _has_layers(row) else 0))


def _op_offload_bytes(row: Row) -> int:
    """Return the bytes of the one expert matrix that llama.cpp keeps in GPU buffers for a prompt.

    For a prompt, llama.cpp copies the experts of a CPU layer to the GPU matrix by matrix.
    ik_llama.cpp does so only for batches of 32 · experts / top-k tokens or more. ik_llama.cpp does
    not do so with experts repacked as they are read.
    """
    is_partial = "=CPU" in row["args"] or _option(row, "-n-cpu-moe") not in (None, "0")
    if row["runtime"] != "llama.cpp" or not is_partial:
        return 0
    model = load_model(row["model"])
    per_weight = float(re.findall(r"experts=([\d.]+)", row["bytes_per_weight"])[0])
    return round(model.num_experts * model.hidden * model.expert_intermediate * per_weight)


def _has_layers(row: Row) -> bool:
    """Whether the dense parts of the layers are on GPUs."""
    return _option(row, "ngl") != "0"


def _card(row: Row) -> tuple[int, str]:
    found = re.match(r"(?:(\d+)x)?(.+?)(?: PCIe.*)?$", row["machine"].split(" + ")[0])
    assert found is not None
    return int(found[1] or 1), found[2]


def _option(row: Row, name: str) -> str | None:
    found = re.search(rf"(?:^|\s)-{name}\s+(\S+)", row["args"])
    return found[1] if found else None


def _read(name: str) -> list[Row]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    main()
