"""The options that every command takes, and the options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from rosin.cli import completion
from rosin.cli.named_option import named

JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE|-", help="Write the result as JSON to a file, or to stdout (-)."
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, metavar="N", help="Seed of everything random.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print no tables and no warnings.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a number of the machine, such as link.h2d.bytes_per_s=50e9; may be repeated.",
    ),
]


def num_bytes(text: str) -> int:
    """Return a size in bytes. Raises BadParameter for text that is no size."""
    from hwprofiles.units import parse_number

    try:
        return int(parse_number(text))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


# None stands for "not said": then the plan's value where one is given, else the default that the
# help names.
ModelOption = Annotated[
    str | None,
    named(
        "--model",
        "NAME",
        "A model's name, or a model file; rosin models lists them.",
        completion.model_names,
    ),
]
MachineOption = Annotated[
    str | None,
    named(
        "--machine",
        "NAME",
        "A machine's name, or a machine file; rosin machines lists them.",
        completion.machine_names,
    ),
]
PolicyOption = Annotated[
    str | None,
    named(
        "--policy", "NAME", "A policy's name; rosin policies lists them.", completion.policy_names
    ),
]
PromptTokensOption = Annotated[
    int | None, named("--prompt-tokens", "N", "Tokens of each prompt; otherwise 128.")
]
OutputTokensOption = Annotated[
    int | None, named("--output-tokens", "N", "Tokens of each answer; otherwise 128.")
]
BatchOption = Annotated[
    int | None, named("--batch", "N", "Prompts that start together; otherwise 1.")
]
BeamsOption = Annotated[
    int | None, named("--beams", "N", "Hypotheses searched for each answer; otherwise 1.")
]
RoutingOption = Annotated[
    str | None,
    named(
        "--routing",
        "SPEC",
        "Which experts tokens select: uniform, popularity:FILE, statistics (.yaml, or a name that ships), or a recorded trace (.npz); "
        "otherwise the statistics that ship for the model, uniform where none do.",
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", metavar="fast|reference", help="Which engine; the result is the same."
    ),
]
QuantizationOption = Annotated[
    str | None,
    named(
        "--quantization",
        "SCHEME",
        "Store the weights in this scheme, not in their own: Q4_K_M, IQ2_XXS, AWQ, NVFP4, 4bit and others.",
    ),
]
OfferedQuantizationOption = Annotated[
    str | None,
    named(
        "--quantization",
        "SCHEME",
        "Store the weights in this scheme, not in their own: Q4_K_M, IQ2_XXS, AWQ, NVFP4, 4bit and others; "
        "for rosin plan also several, A,B,C: the plan takes the best.",
        completion.quantization_names,
    ),
]
KvTypeOption = Annotated[
    str | None,
    named(
        "--kv-type",
        "TYPE",
        "Store keys and values in this type: f16, fp8, q8_0, q4_0 and others; otherwise as the model states.",
    ),
]
ThreadsOption = Annotated[
    str | None,
    named(
        "--cpu-threads",
        "N",
        "Compute with this many CPU threads, which the machine file must have rates for; otherwise as many as its own rates are for. "
        "For rosin plan also several, N,M; otherwise all that it has rates for.",
    ),
]
SlotsOption = Annotated[
    int | None,
    named(
        "--expert-slots-per-layer",
        "N",
        "Let the GPU hold this many experts of each layer, whatever memory would allow.",
        least=0,
    ),
]
GpusOption = Annotated[
    int | None,
    named(
        "--gpus",
        "N",
        "Use this many of the machine's GPUs, by default each with whole layers of its own. Otherwise 1.",
    ),
]
SplitModeOption = Annotated[
    str | None,
    named(
        "--split-mode",
        "MODE",
        "How --gpus share a model: layer lays whole layers out by memory, experts deals experts out, tensor "
        "splits all matrices and experts, row those beside experts. Otherwise layer.",
    ),
]
CardLayersOption = Annotated[
    str | None,
    named(
        "--layers-by-card",
        "N,N,…",
        "Lay this many layers out on each of the machine's cards, in their order; cards may differ, and 0 leaves one out.",
    ),
]
DiskReadsOption = Annotated[
    str | None,
    named(
        "--disk-reads",
        "KIND",
        "What host memory keeps where it has no room for all experts: cached those read last, direct a fixed set. "
        "Otherwise cached.",
    ),
]
CacheBytesOption = Annotated[
    int | None,
    typer.Option(
        "--expert-cache-bytes",
        metavar="SIZE",
        parser=num_bytes,
        help="Most that experts may take of GPU memory, all GPUs together, such as 24GB; otherwise what there is room for.",
        show_default=False,
    ),
]
DrawsOption = Annotated[
    int | None,
    named(
        "--draws",
        "N",
        "Average over this many independent draws of the routing; otherwise one, or as many as the plan named was made with "
        "(rosin plan: 4 to 32, rosin whatif: 4).",
    ),
]
ReserveOption = Annotated[
    str | None,
    named(
        "--reserve-vram",
        "BYTES",
        "Leave this much GPU memory to other programs, such as 2GiB.",
    ),
]
PlanOption = Annotated[
    Path | None,
    named("--plan", "FILE", "Take everything that no other option states from this plan."),
]
AllowImportOption = Annotated[
    list[str] | None,
    named(
        "--allow-import",
        "MODULE",
        "Let the plan file import parts of this module, which is run; without it a file imports nothing. May be repeated.",
    ),
]
ScenarioSeedOption = Annotated[
    int | None, named("--seed", "N", "Seed of everything random; otherwise 0.", least=0)
]
SetAnyOption = Annotated[
    list[str] | None,
    named(
        "--set",
        "KEY=VALUE",
        "Change a number of the machine (link.h2d.bytes_per_s=50e9) or a parameter of the policy (believed_cost=code); may be repeated.",
    ),
]
