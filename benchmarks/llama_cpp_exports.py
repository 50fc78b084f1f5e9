"""Check exported plans against llama.cpp's own parser and memory: bytes by device.

    python -m benchmarks.llama_cpp_exports --binary FOLDER [--plans N] [--seed N]

FOLDER has llama-fit-params and ggml-rpc-server. Plans are made for PCs and loads drawn at random,
on sparse files of three models. llama-fit-params gets the arguments as they are exported; loopback
devices stand for the GPUs. The program prints MiB of weights, of keys and values, and of buffers by
device, without allocating anything.
"""

import argparse
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.llama_cpp_placements import SHAPES
from hwprofiles.units import MIB
from planner.runtimes.plan_text import command_of
from planner.search.objectives import Goal
from planner.search.setting import Setting
from rosin.cli.failures import NoFeasiblePlan
from rosin.commands.plan.runtime_command import RuntimeAnswer, runtime_answer
from rosin.commands.plan.runtime_options import RuntimePlanOptions
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.memory import DeviceMemory, memory_of
from validation.runtimes.llama_cpp import write_random_gguf
from validation.runtimes.llama_cpp.rpc import loopback_devices

GPUS = (
    *("RTX 2080 Ti", "RTX 3060", "RTX 3090", "2x RTX 3090", "RTX 4070 Ti", "2x RTX 4080"),
    *("RTX 4090", "RTX 5060 Ti 16GB", "RTX A6000"),
)
HOSTS = (
    "Ryzen 5 5600X + 4x32GB DDR4-3200",
    "Core i9-13900K + 2x48GB DDR5-6000",
    "EPYC 7402 + 8x32GB DDR4-3200",
    "2x Xeon Gold 6248R + 12x32GB DDR4-2933",
)
PROMPTS = (100, 700, 3000, 12000)
ANSWERS = (50, 400, 1500)
ROOMS = (16384, 32768, 65536)
KV_TYPES = (None, "q8_0", "q4_0", "f16,q8_0")

LEAST_RATIO = 0.999
"""Least accepted ratio of planned to printed sizes, which are whole MiB, in part rounded up."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What llama-fit-params made of a plan: MiB of weights, caches and buffers by device.

    Loopback devices do not copy experts for prompts. So the host's buffers are compared with those
    of the plan without such copies.
    """

    machine: str
    own: Mapping[str, DeviceMemory]
    host_without_copies: DeviceMemory
    reported: Mapping[str, tuple[int, int, int]]

    @property
    def is_same(self) -> bool:
        """Whether weights and caches agree on each device, rounded down to MiB as by llama.cpp."""
        return all(
            (int(memory.weights / MIB), int(memory.kv / MIB)) == self.reported[name][:2]
            for name, memory in self.own.items()
        )

    @property
    def buffer_ratios(self) -> list[float]:
        """Planned bytes of buffers over reported ones, one ratio per GPU."""
        return [
            memory.compute / MIB / self.reported[name][2]
            for name, memory in self.own.items()
            if name != "host"
        ]

    @property
    def host_ratio(self) -> float:
        """Planned bytes of buffers over reported ones on the host."""
        return self.host_without_copies.compute / MIB / self.reported["host"][2]


def main() -> None:
    """Make plans, export them, let llama-fit-params read them, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_random_gguf(shape, formats, Path(folder) / f"{shape.name}.gguf", is_sparse=True)
            for shape, formats in SHAPES
        ]
        found = list(_reads(asked.binary, files, asked.plans, asked.seed))
    ratios = [ratio for item in found for ratio in item.buffer_ratios]
    same = sum(item.is_same for item in found)
    print(f"{len(found)} of {asked.plans} loads have a plan; llama.cpp takes the arguments of all")
    print(f"{same} have its MiB of weights and of keys and values on every device")
    print(f"planned buffers over its own, on GPUs: {_spread(ratios)}")
    print(f"on the host: {_spread([item.host_ratio for item in found])}")
    for item in found:
        if not item.is_same or min(*item.buffer_ratios, item.host_ratio) < LEAST_RATIO:
            print(item)


def _spread(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}, median {median(ratios):.2f}"


def _reads(folder: Path, files: Sequence[Path], count: int, seed: int) -> Iterator[Read]:
    for index in range(count):
        draw = random.Random(seed * 1000 + index)
        gpu = draw.choice(GPUS)
        setting = Setting(
            model=str(draw.choice(files)),
            machine=f"{gpu} + {draw.choice(HOSTS)}",
            prompt_tokens=draw.choice(PROMPTS),
            output_tokens=draw.choice(ANSWERS),
            kv_type=draw.choice(KV_TYPES),
        )
        said = RuntimePlanOptions(runtime="llama.cpp", room_tokens=draw.choice(ROOMS))
        try:
            answer = runtime_answer(setting, said, Goal(objective="throughput"))
        except NoFeasiblePlan:
            continue
        yield _read(folder, setting.machine, answer, 2 if gpu.startswith("2x") else 1)


def _read(folder: Path, machine: str, answer: RuntimeAnswer, num_gpus: int) -> Read:
    """Let llama-fit-params read the exported arguments, on one loopback device for each GPU."""
    words = _known_words(command_of(answer.file).all_words)
    with loopback_devices(folder, num_gpus) as devices:
        command = [str(folder / "llama-fit-params"), *words, "-fitp", "on", "--no-repack"]
        run = subprocess.run(
            [*command, "--rpc", ",".join(devices.addresses)],
            capture_output=True,
            text=True,
            check=False,
        )
    rows = re.findall(r"^(Host|RPC\d+)\S*\s+(\d+)\s+(\d+)\s+(\d+)", run.stdout, re.M)
    if run.returncode or not rows:
        raise SystemExit(f"llama-fit-params refused {words}: {run.stderr.strip()[-800:]}")
    names = {"Host": "host"} | {f"RPC{index}": f"gpu{index}" for index in range(num_gpus)}
    best = answer.plan.best
    assert isinstance(best.arguments, LlamaArguments)
    without_copies = replace(best.arguments, is_op_offload=False)
    question = replace(best.question, arguments=without_copies)
    return Read(
        machine=machine,
        own=best.memory,
        host_without_copies=memory_of(question, best.placement)["host"],
        reported={names[name]: (int(w), int(kv), int(own)) for name, w, kv, own in rows},
    )


def _known_words(words: Sequence[str]) -> list[str]:
    """The arguments without --moe-cache-mib, which this build of llama.cpp does not have."""
    kept = list(words)
    if "--moe-cache-mib" in kept:
        place = kept.index("--moe-cache-mib")
        del kept[place : place + 2]
    return kept


if __name__ == "__main__":
    main()
