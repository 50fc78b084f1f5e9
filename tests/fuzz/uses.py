"""Formats whose files are not read alone but used: models are built, machines are simulated."""

import json
import random
from pathlib import Path

from hwprofiles import InputError, load_machine, machine_names
from hwprofiles.parts import machine_of_line
from hwprofiles.units import MIB
from planner.search.footprint import PROGRAM_BYTES, run_bytes
from planner.search.plan import Setting
from sim.model.library import load_model
from sim.policies import find_policy
from sim.runtimes import READERS, RuntimeQuestion, predict, read_runtime_arguments, runtime_host
from sim.step.simulate import simulate
from tests.fuzz.format import Format
from tests.sim.family_configs import CONFIGS
from tests.sim.generated_configs import SHAPES, generated
from tests.sim.gguf_files import random_file
from tests.source_tree import ROOT
from validation.accuracy.rows import read_rows

NUM_GGUF_SEEDS = 20
MODEL, MACHINE = "granite-3-1b-a400m", "desktop-rtx-3060-ddr4"
POLICIES = ("fiddler", "moe-lightning", "llama.cpp")
RUN_BYTES = PROGRAM_BYTES + 200 * MIB
"""A run that may take more is refused, as the command's guard refuses it."""
ROWS = (
    b"id,rig,machine,model,runtime,args,prompt_tokens,decode_tokens_per_s\n"
    b"a,b,h100,mixtral-8x7b,llama.cpp,-ngl 99 -ncmoe 20,512,17.5\n"
    b"c,b,h100,mixtral-8x7b,llama.cpp,-ngl 99,512,30\n"
)
PARTS = (
    b"RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800",
    b"2x RTX 3090 + 2x EPYC 7763 + 16x32GB DDR4-3200 + NVMe 4GB/s",
)
NUM_LAYERS = 24
"""Of the model that they are read for."""
DEVICE_MAP = {
    "model.embed_tokens": 0,
    **{f"model.layers.{index}": 0 if index < 10 else "cpu" for index in range(NUM_LAYERS)},
    "model.norm": 0,
    "lm_head": 0,
}
ARGUMENTS = {
    "llama.cpp": b'-ngl 99 -ncmoe 20 -ub 2048 -t 16 -ot "blk.(1|2).ffn_.*_exps.=CPU" -fa on',
    "ik_llama.cpp": b'-ngl 99 -fmoe -rtr -ot "exps=CPU" -ctk q8_0 -ctv q8_0 -amb 512',
    "ktransformers": b"--cpu_infer 32 --max_new_tokens 100 --optimize_config_path DeepSeek-V3-Chat.yaml",
    "vllm": b"--cpu-offload-gb 1 --cpu-offload-params experts --max-num-batched-tokens 8192",
    "accelerate": json.dumps(DEVICE_MAP).encode(),
    "exllamav3": b"-mcl 7 -mcs 16 -mct 8 -cs 8192",
}
assert set(ARGUMENTS) == set(READERS)


def uses() -> list[Format]:
    """All of them."""
    files = [
        _configurations(),
        Format(name="GGUF", suffix=".gguf", seeds=_headers(), read=_model),
        Format(name="machine, simulated", suffix=".yaml", seeds=_machines(), read=_on_machine),
        Format(name="model, simulated", suffix=".yaml", seeds=_models(), read=_of_model),
        Format(name="measured rows", suffix=".csv", seeds=[ROWS], read=read_rows),
        Format(name="parts", suffix=".txt", seeds=PARTS, read=_of_parts, is_file=False),
    ]
    return files + [_arguments(runtime) for runtime in READERS]


def _configurations() -> Format:
    """Of every family that is imported, several generated ones and those of public models."""
    made = [generated(random.Random(family), family) for family in sorted(SHAPES)]
    seeds = [json.dumps(each).encode() for each in (*made, *CONFIGS.values())]
    return Format(name="configuration of any family", suffix=".json", seeds=seeds, read=_model)


def _headers() -> list[bytes]:
    return [random_file(random.Random(seed)).content() for seed in range(NUM_GGUF_SEEDS)]


def _machines() -> list[bytes]:
    folder = ROOT / "hwprofiles" / "machines"
    return [(folder / f"{name}.yaml").read_bytes() for name in machine_names()]


def _models() -> list[bytes]:
    folder = ROOT / "sim" / "model" / "models"
    return [
        (folder / f"{name}.yaml").read_bytes() for name in (MODEL, "gpt-oss-20b", "olmoe-1b-7b")
    ]


def _model(path: Path) -> None:
    load_model(str(path))


def _on_machine(path: Path) -> None:
    _simulated(path, Setting(model=MODEL, machine=str(path), prompt_tokens=4, output_tokens=2))


def _of_model(path: Path) -> None:
    _simulated(path, Setting(model=str(path), machine=MACHINE, prompt_tokens=4, output_tokens=2))


def _simulated(path: Path, setting: Setting) -> None:
    """Run a few tokens under policies of several kinds; what a run says of its scenario is one line."""
    for name in POLICIES:
        scenario = setting.scenario(find_policy(name))
        if run_bytes(scenario) > RUN_BYTES:
            raise InputError(f"{path}: takes more memory than is tried here")
        try:
            simulate(scenario)
        except InputError as error:  # of the scenario as a whole, which no file is to blame for
            raise InputError(f"{path}: {error}") from None


def _of_parts(path: Path) -> None:
    machine_of_line(path.read_text(encoding="utf-8", errors="replace"))


def _arguments(runtime: str) -> Format:
    """A line of arguments of that runtime, and what it predicts with them."""
    model = load_model(MODEL, "Q4_K_M")
    host = runtime_host(load_machine(MACHINE))

    def read(path: Path) -> None:
        line = path.read_text(encoding="utf-8", errors="replace")
        arguments = read_runtime_arguments(runtime, line)
        question = RuntimeQuestion(
            runtime=runtime, arguments=arguments, model=model, quantization="Q4_K_M", host=host
        )
        predict(question)

    name = f"arguments of {runtime}"
    return Format(name=name, suffix=".txt", seeds=[ARGUMENTS[runtime]], read=read, is_file=False)
