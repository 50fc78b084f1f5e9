"""The options of `rosin validate` that say how a plan is run, with torch or with its program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.options import AllowImportOption, ScenarioSeedOption

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|cpu|paced",
        help="What runs it: paced is small tensors slept out to the machine file's times; cpu needs a machine that rosin measure wrote.",
    ),
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, metavar="N", help="Runs of every plan.")
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="One round of a short prompt and answer.")
]
RuntimeOption = Annotated[
    str | None, named("--runtime", "llama.cpp", "Run the plan with this program, not with torch.")
]
RuntimeArgsOption = Annotated[
    str | None,
    named("--runtime-args", "ARGS", "Its arguments, in quotes; otherwise those of the plan file."),
]
BinaryOption = Annotated[
    Path | None,
    named(
        "--binary",
        "PATH",
        "llama-bench, or its folder; otherwise as found, else the wheel xllamacpp.",
    ),
]
ModelFileOption = Annotated[
    Path | None,
    named("--model-file", "X.gguf", "Run this file; otherwise a small one with random weights."),
]
WeightsOption = Annotated[
    Path | None, named("--weights", "DIR", "Run this Hugging Face checkpoint, not random weights.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(OptionGroup):
    """The options that say how the plan is run, as typed."""

    device: DeviceOption = "auto"
    rounds: RoundsOption = 5
    quick: QuickOption = False
    weights: WeightsOption = None
    allow_import: AllowImportOption = None
    seed: ScenarioSeedOption = None

    @property
    def num_rounds(self) -> int:
        """Return the number of runs of every plan."""
        return 1 if self.quick else self.rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRun(OptionGroup):
    """The runtime that runs the plan, as typed; without a runtime, torch runs the plan."""

    runtime: RuntimeOption = None
    runtime_args: RuntimeArgsOption = None
    binary: BinaryOption = None
    model_file: ModelFileOption = None
