"""The options that every command takes, and those that several share, written once."""

from typing import Annotated

import typer

JsonOption = Annotated[str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON to a file, or to stdout (-).")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of everything random.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print no tables and no warnings.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a number of the machine, such as link.h2d.bytes_per_s=50e9; may be repeated."),
]

ScenarioSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a number of the machine (link.h2d.bytes_per_s=50e9) or a parameter of the policy (believed_cost=code); may be repeated.",
        show_default=False,
    ),
]
QuantizationOption = Annotated[
    str | None,
    typer.Option("--quantization", metavar="SCHEME", help="Store the weights in this scheme, not in their own.", show_default=False),
]
ModelOption = Annotated[str, typer.Option("--model", metavar="NAME", help="A model's name, or a model file (rosin models lists them).")]
MachineOption = Annotated[str, typer.Option("--machine", metavar="NAME", help="A machine's name, or a machine file (rosin machines).")]
PolicyOption = Annotated[str, typer.Option("--policy", metavar="NAME", help="A policy's name (rosin policies).")]
PromptTokensOption = Annotated[int, typer.Option("--prompt-tokens", metavar="N", help="Tokens of each prompt.")]
OutputTokensOption = Annotated[int, typer.Option("--output-tokens", metavar="N", help="Tokens of each answer.")]
BatchOption = Annotated[int, typer.Option("--batch", metavar="N", help="Prompts that start together.")]
BeamsOption = Annotated[int, typer.Option("--beams", metavar="N", help="Hypotheses searched for each answer.")]
RoutingOption = Annotated[
    str | None,
    typer.Option(
        "--routing",
        metavar="SPEC",
        help="Which experts tokens select: uniform, popularity:FILE, statistics (.yaml), or a recorded trace (.npz). "
        "Otherwise the statistics that ship for the model, uniform where none do.",
        show_default=False,
    ),
]
EngineOption = Annotated[str, typer.Option("--engine", metavar="fast|reference", help="Two engines of one meaning; same result.")]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--expert-slots-per-layer",
        metavar="N",
        help="Let the GPU hold this many experts of each layer, whatever memory would allow.",
        show_default=False,
    ),
]
