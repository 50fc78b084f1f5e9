"""Compare our evaluation of llama.cpp's arguments with llama.cpp's own: bytes of weights by device.

    python -m benchmarks.llama_cpp_placements --binary FOLDER [--plans N] [--seed N]
        -o out/placements

FOLDER has llama-fit-params and ggml-rpc-server. Random arguments place sparse files (headers, and
holes for weights) of three models. The arguments put each expert matrix of each layer on the host
or on one of two loopback devices. The number of layers on devices is random, too. llama-fit-params
prints MiB by device without allocating anything.
"""

import argparse
import json
import random
import re
import shlex
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hwprofiles.units import MIB
from sim.runtimes.llama_cpp.arguments import read_llama_arguments
from validation.runtimes.llama_cpp import MoeShape, WeightFormats, write_random_gguf
from validation.runtimes.llama_cpp.rpc import LoopbackDevices, loopback_devices
from validation.runtimes.llama_cpp.tensor_placement import expected_bytes

SHAPES = (
    (
        MoeShape(
            name="30b-a3b",
            num_layers=48,
            hidden=2048,
            num_experts=128,
            top_k=8,
            expert_intermediate=768,
            num_heads=32,
            num_kv_heads=4,
            head_dim=128,
            vocab=32768,
        ),
        WeightFormats(experts="q8_0"),
    ),
    (
        MoeShape(
            name="235b-a22b",
            num_layers=94,
            hidden=4096,
            num_experts=128,
            top_k=8,
            expert_intermediate=1536,
            num_heads=64,
            num_kv_heads=4,
            head_dim=128,
            vocab=32768,
        ),
        WeightFormats(experts="q4_k", dense="q6_k"),
    ),
    (
        MoeShape(
            name="8x7b",
            num_layers=32,
            hidden=4096,
            num_experts=8,
            top_k=2,
            expert_intermediate=14336,
            num_heads=32,
            num_kv_heads=8,
            head_dim=128,
            vocab=32768,
        ),
        WeightFormats(experts="q5_k", dense="bf16"),
    ),
)
"""Shapes of Qwen3-30B-A3B, Qwen3-235B-A22B and Mixtral-8x7B (their config.json)."""

NUM_DEVICES = 2
MATRICES = ("gate", "up", "down")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One set of random arguments, with MiB on host and devices: ours and llama.cpp's."""

    model: str
    gpu_layers: int
    num_overrides: int
    expected_mib: tuple[int, ...]
    reported_mib: tuple[int, ...]

    @property
    def is_same(self) -> bool:
        """Whether all sizes agree, rounded down to MiB as llama.cpp does."""
        return self.expected_mib == self.reported_mib


def main() -> None:
    """Place the files by random arguments, compare the sizes, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--plans", type=int, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_random_gguf(shape, formats, Path(folder) / f"{shape.name}.gguf", is_sparse=True)
            for shape, formats in SHAPES
        ]
        with loopback_devices(asked.binary, NUM_DEVICES) as devices:
            found = []
            for index, draw in enumerate(_generators(asked.seed, asked.plans)):
                shape = SHAPES[index % 3][0]
                file = files[index % 3]
                found.append(random_placement(asked.binary, file, shape, devices, draw))
                print(f"{index + 1} of {asked.plans}", flush=True)
    same = sum(item.is_same for item in found)
    asked.o.mkdir(parents=True, exist_ok=True)
    (asked.o / "placements.json").write_text(json.dumps([asdict(item) for item in found], indent=1))
    print(f"{same} of {len(found)} random placements are the same, MiB by MiB, on every device")
    for item in found:
        if not item.is_same:
            print(item)


def _generators(seed: int, count: int) -> Iterator[random.Random]:
    return (random.Random(seed * 1000 + index) for index in range(count))


def random_placement(
    folder: Path, file: Path, shape: MoeShape, devices: LoopbackDevices, draw: random.Random
) -> Placed:
    """Draw arguments, and place the file by them twice: in our evaluation and in llama.cpp."""
    own, said = _random_overrides(shape, devices.buffers, draw)
    gpu_layers = draw.choice((0, 2, shape.num_layers // 2, shape.num_layers, 99))
    line = shlex.join(["-ngl", str(gpu_layers), "-ts", "1,1", "-ot", own])
    expected, _ = expected_bytes(file, read_llama_arguments(line), (1.0,) * NUM_DEVICES)
    reported = _fit_params(folder, file, gpu_layers, said, devices)
    return Placed(
        model=shape.name,
        gpu_layers=gpu_layers,
        num_overrides=own.count("="),
        expected_mib=tuple(int(size / MIB) for size in expected),
        reported_mib=reported,
    )


def _random_overrides(
    shape: MoeShape, buffers: Sequence[str], draw: random.Random
) -> tuple[str, str]:
    """Draw a device for each expert matrix of each layer; one in five stays with its layer.

    Return the overrides twice: with CUDA devices for our evaluation, and with the run's loopback
    devices.
    """
    layers: dict[tuple[str, int], list[int]] = defaultdict(list)
    for layer in range(shape.num_layers):
        for matrix in MATRICES:
            device = draw.choice((-1, -1, 0, 1, None))
            if device is not None:
                layers[matrix, device].append(layer)
    own: list[str] = []
    said: list[str] = []
    for (matrix, device), chosen in layers.items():
        pattern = rf"^blk\.({'|'.join(map(str, chosen))})\.ffn_{matrix}_exps\.weight"
        own.append(f"{pattern}={'CPU' if device < 0 else f'CUDA{device}'}")
        said.append(f"{pattern}={'CPU' if device < 0 else buffers[device]}")
    return ",".join(own), ",".join(said)


def _fit_params(
    folder: Path, file: Path, gpu_layers: int, overrides: str, devices: LoopbackDevices
) -> tuple[int, ...]:
    """Return the MiB of weights that llama-fit-params prints: on the host, then on each device."""
    command = [
        *(str(folder / "llama-fit-params"), "-m", str(file), "-fitp", "on"),
        *("--rpc", ",".join(devices.addresses), "-ngl", str(gpu_layers), "-ts", "1,1"),
        *("-c", "4096", "--no-repack", "-ot", overrides),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    sizes = {
        name: int(size) for name, size in re.findall(r"^(Host|RPC\d+)\S*\s+(\d+)", run.stdout, re.M)
    }
    if not sizes:
        raise SystemExit(f"llama-fit-params said nothing: {run.stderr.strip()[-800:]}")
    return (sizes.get("Host", 0), *(sizes.get(f"RPC{index}", 0) for index in range(NUM_DEVICES)))


if __name__ == "__main__":
    main()
