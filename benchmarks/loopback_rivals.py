"""Twelve placements over two devices, and a plan; each has room for half of the experts."""

import random
from dataclasses import replace
from pathlib import Path

from hwprofiles import load_machine
from planner.runtimes.asked import Asked
from planner.runtimes.llama_layout import (
    ON_HOST,
    Layout,
    Matrices,
    arguments_of,
    layout_of,
    placement_in,
)
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.search import RuntimePlan, plan_runtime
from sim.model.importers.gguf import model_from_gguf
from sim.runtimes import RuntimeHost, runtime_host
from sim.runtimes.gguf_tensors import tensors_of
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.placement import HOST
from sim.runtimes.placing import completed_by_fit

MACHINE = "desktop-rtx-4090-ddr5"
OUTPUT_TOKENS = 16
ROOM_LAYERS = 8.5
"""Layers of experts that fit on the device, of sixteen.

Half a layer more than eight makes single matrices matter.
"""

DEVICE: Matrices = (0, 0, 0)
GATE_UP: Matrices = (0, 0, HOST)
DOWN: Matrices = (HOST, HOST, 0)


def planned_arguments(path: Path, host: RuntimeHost) -> LlamaArguments:
    """Return the arguments of the plan for that machine, with the same room as the rivals."""
    found = plan_runtime(_asked(path, host))
    assert isinstance(found, RuntimePlan), found
    arguments = found.best.arguments
    assert isinstance(arguments, LlamaArguments)
    # The device has more memory than the plan may take, so the program's own fit would use it.
    written = completed_by_fit(found.best.question, arguments)
    return replace(written, threads=1, is_fitted=False)


def rival_arguments(path: Path) -> dict[str, LlamaArguments]:
    """Return the rivals' arguments by name. All fit into the room."""
    asked = _asked(path, runtime_host(load_machine(MACHINE)))
    base = LlamaArguments(runtime="llama.cpp", threads=1, is_fitted=False, context_tokens=512)
    layouts = _layouts(asked.model.num_layers)
    found = {name: arguments_of(asked, base, layout) for name, layout in layouts.items()}
    room = asked.host.gpus[0].memory_bytes
    for name, layout in layouts.items():
        option = asked.option(found[name], placement_in(asked, layout))
        assert option.memory["gpu0"].total <= room, name
    asks_fit = replace(base, is_fitted=True, fit_margin_mib=0)
    return {"--fit": completed_by_fit(asked.question(asks_fit), asks_fit), **found}


def _layouts(num_layers: int) -> dict[str, Layout]:
    """Return the rivals' layouts by name, for a model of ``num_layers`` layers."""
    homes = (0,) * (num_layers + 1)
    generator = random.Random(0)
    half = num_layers // 2
    every = range(num_layers)
    quarter = num_layers // 4
    mixed = [GATE_UP if layer < 3 * quarter else ON_HOST for layer in every]
    downs = [DEVICE if layer < quarter else DOWN for layer in every]
    parts = [GATE_UP] * half + [DOWN] * half
    generator.shuffle(parts)
    return {
        "-ncmoe 8": layout_of(homes, range(half)),
        "-ncmoe 12": layout_of(homes, range(3 * quarter)),
        "-cmoe": layout_of(homes, every),
        "last layers on the host": layout_of(homes, range(half, num_layers)),
        "every other layer": layout_of(homes, range(0, num_layers, 2)),
        "layers at both ends on the host": layout_of(
            homes, [*range(quarter), *range(num_layers - quarter, num_layers)]
        ),
        "gate and up of twelve layers": Layout(homes, tuple(mixed)),
        "down of all, four whole": Layout(homes, tuple(downs)),
        "random layers": layout_of(homes, generator.sample(every, half)),
        "random matrices": Layout(homes, tuple(parts)),
        "-ngl 8": Layout(
            (HOST,) * (num_layers + 1 - half) + (0,) * half,
            (ON_HOST,) * (num_layers + 1 - half) + (DEVICE,) * (half - 1),
        ),
    }


def _asked(path: Path, host: RuntimeHost) -> Asked:
    """Return a search whose device has room for all but experts, and for ROOM_LAYERS of experts."""
    model = model_from_gguf(path)
    asked = Asked(
        runtime="llama.cpp",
        model=model,
        quantization="Q8_0",
        host=host,
        load=RuntimeLoad(prompt_tokens=1, output_tokens=OUTPUT_TOKENS, room_tokens=512),
        limits=RuntimeLimits(margin_vram_bytes=0, reserve_ram_bytes=0),
        tensors=tensors_of(model, str(path), None),
        objective="tpot",
    )
    layout = layout_of((0,) * (model.num_layers + 1), range(model.num_layers))
    base = LlamaArguments(runtime="llama.cpp", threads=1, is_fitted=False, context_tokens=512)
    used = asked.option(arguments_of(asked, base, layout), placement_in(asked, layout))
    room = used.memory["gpu0"].total + ROOM_LAYERS * sum(asked.matrix_bytes[0])
    gpus = tuple(replace(gpu, memory_bytes=room) for gpu in host.gpus)
    return replace(asked, host=replace(host, gpus=gpus))
