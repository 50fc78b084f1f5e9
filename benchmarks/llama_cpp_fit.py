"""Compare our evaluation of llama.cpp's --fit with what llama.cpp prints.

    python -m benchmarks.llama_cpp_fit --binary FOLDER [--choices N] [--seed N]

FOLDER has llama-fit-params and ggml-rpc-server. Sparse files (headers, and holes for weights) of
three models are fitted to one or two loopback devices. Targets and contexts are random.
llama-fit-params allocates nothing. The buffers of a loopback device are taken from the program's
output, because they differ from a GPU's.
"""

import argparse
import random
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.llama_cpp_placements import SHAPES
from hwprofiles.units import MIB
from sim.model.library import load_model
from sim.runtimes.gguf_tensors import tensors_of_file
from sim.runtimes.llama_cpp.arguments import LlamaArguments, read_llama_arguments
from sim.runtimes.llama_cpp.fit import FitMemory, fitted_arguments
from sim.runtimes.llama_cpp.overrides import Override
from validation.runtimes.llama_cpp import write_random_gguf
from validation.runtimes.llama_cpp.rpc import LoopbackDevices, loopback_devices

BREAKDOWN = re.compile(
    r"RPC\d+ \(\S+\)\s*\|\s*\d+ = (\d+) \+ \(\s*\d+ =\s*(\d+) \+\s*(\d+) \+\s*(\d+)\)"
)
CONTEXTS = (4096, 16384, 32768)
SMALLEST_MIB = 1500
LARGEST_MIB = 20000
MOST_DEVICES = 2


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The choices of llama.cpp (``said``) and of our evaluation: layers and overrides, in words."""

    file: str
    context_tokens: int
    usable_mib: tuple[int, ...]
    said: str
    ours: str


def main() -> None:
    """Fit random cases both ways and print the choices that differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--choices", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_random_gguf(shape, formats, Path(folder) / f"{shape.name}.gguf", is_sparse=True)
            for shape, formats in SHAPES
        ]
        for count in range(1, MOST_DEVICES + 1):
            with loopback_devices(asked.binary, count) as devices:
                for index in range(asked.choices):
                    found.append(fit_once(asked.binary, files[index % len(files)], devices, draw))
    for item in found:
        if item.said != item.ours:
            print(item)
    same = sum(item.said == item.ours for item in found)
    print(f"{same} of {len(found)} choices are the same, argument by argument")


def fit_once(folder: Path, file: Path, devices: LoopbackDevices, draw: random.Random) -> Fitted:
    """Fit a file to random parts of the devices, by llama.cpp and by our evaluation."""
    count = len(devices.addresses)
    context = draw.choice(CONTEXTS)
    usable = [draw.randrange(SMALLEST_MIB, LARGEST_MIB) for _ in range(count)]
    free = _free_mib(folder, file, devices)
    targets = [max(0, own - part) for own, part in zip(free, usable, strict=True)]
    output, log = _run(folder, file, devices, context, targets)
    line = re.sub(r"^.*?(-c \d+)", r"\1", output.strip())
    for index, buffer in enumerate(devices.buffers):
        line = line.replace(buffer, f"CUDA{index}")
    found = BREAKDOWN.findall(log)[-count:]
    model = load_model(str(file))
    layers = [layer.attention for layer in model.layers if layer.attention]
    ours = fitted_arguments(
        model,
        LlamaArguments(runtime="llama.cpp", fit_margin_mib=0),
        FitMemory(
            free_bytes=[
                (int(own[0]) - target) * MIB for own, target in zip(found, targets, strict=True)
            ],
            compute_bytes=[int(own[3]) * MIB for own in found],
            kv_bytes=[2.0 * layer.kv_elements_per_token * context for layer in layers],
        ),
        range(count),
        tensors_of_file(file, model.num_layers),
    )
    return Fitted(
        file=file.stem,
        context_tokens=context,
        usable_mib=tuple(usable),
        said=_in_words(read_llama_arguments(line), model.num_layers),
        ours=_in_words(ours, model.num_layers),
    )


def _in_words(arguments: LlamaArguments, num_layers: int) -> str:
    """Return layers on devices, their split, and each override's pattern and device, in words."""
    most = num_layers + 1
    layers = most if arguments.gpu_layers is None else min(most, arguments.gpu_layers)
    patterns = sorted(
        f"{item.pattern.replace('(up|down|gate_up|gate)', '(up|down|gate|gate_up)')}={item.device}"
        for item in arguments.placements
        if isinstance(item, Override)
        # llama.cpp counts the head among the layers, and writes a pattern that finds nothing for it.
        and f"blk\\.{num_layers}\\." not in item.pattern
    )
    split = ",".join(f"{share:g}" for share in arguments.tensor_split)
    return f"-ngl {layers} -ts {split} {' '.join(patterns)}"


def _free_mib(folder: Path, file: Path, devices: LoopbackDevices) -> list[int]:
    count = len(devices.addresses)
    _, log = _run(folder, file, devices, CONTEXTS[0], [1024] * count)
    return [int(own[0]) for own in BREAKDOWN.findall(log)[-count:]]


def _run(
    folder: Path, file: Path, devices: LoopbackDevices, context: int, targets_mib: list[int]
) -> tuple[str, str]:
    command = [
        *(str(folder / "llama-fit-params"), "-m", str(file), "-c", str(context), "-v"),
        *("--rpc", ",".join(devices.addresses), "--fit-target", ",".join(map(str, targets_mib))),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if "-c " not in run.stdout:
        raise SystemExit(f"llama-fit-params said nothing: {run.stderr.strip()[-800:]}")
    return run.stdout, run.stderr


if __name__ == "__main__":
    main()
