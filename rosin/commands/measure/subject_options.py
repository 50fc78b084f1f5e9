"""The options of `rosin measure` that say what is measured, by torch or by a runtime."""

from dataclasses import dataclass
from typing import Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup

QuickOption = Annotated[
    bool, typer.Option("--quick", help="Fewer sizes and samples: under 90 seconds.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|cpu",
        help="The accelerator: a GPU, or one of the CPU's cores that plays one.",
    ),
]
ModelsOption = Annotated[
    str | None,
    named(
        "--models",
        "A,B",
        "Models whose shapes are measured; otherwise mixtral-8x7b, qwen3-30b-a3b and deepseek-v2-lite on a GPU, "
        "granite-3-1b-a400m and olmoe-1b-7b on a core.",
    ),
]
DtypeOption = Annotated[
    str | None,
    named(
        "--dtype",
        "A,B",
        "Formats that are measured: bf16 (the default), f16, f32; with --runtime those of GGUF files, "
        "otherwise q8_0,q4_k,bf16.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectOptions(OptionGroup):
    """The device, the models and the formats that are measured, as typed."""

    quick: QuickOption = False
    device: DeviceOption = "auto"
    models: ModelsOption = None
    dtype: DtypeOption = None
