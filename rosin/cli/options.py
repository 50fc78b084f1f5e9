"""The options that every command takes, and those that several share, written once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from rosin.cli import completion

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


def _named(
    option: str, metavar: str, text: str, complete: Callable[[str], Iterator[str]] | None = None
) -> Any:
    return typer.Option(
        option, metavar=metavar, help=text, show_default=False, autocompletion=complete
    )


def _count(option: str, text: str) -> Any:
    return typer.Option(option, metavar="N", help=text, show_default=False)


def num_bytes(text: str) -> int:
    """A size in bytes. Raises BadParameter for what is none."""
    from hwprofiles.units import parse_number

    try:
        return int(parse_number(text))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


# None stands for "not said": then the plan's value where one is given, else the default that the
# help names.
ModelOption = Annotated[
    str | None,
    _named(
        "--model",
        "NAME",
        "A model's name, or a model file; rosin models lists them.",
        completion.model_names,
    ),
]
MachineOption = Annotated[
    str | None,
    _named(
        "--machine",
        "NAME",
        "A machine's name, or a machine file; rosin machines lists them.",
        completion.machine_names,
    ),
]
PolicyOption = Annotated[
    str | None,
    _named(
        "--policy", "NAME", "A policy's name; rosin policies lists them.", completion.policy_names
    ),
]
PromptTokensOption = Annotated[
    int | None, _count("--prompt-tokens", "Tokens of each prompt; otherwise 128.")
]
OutputTokensOption = Annotated[
    int | None, _count("--output-tokens", "Tokens of each answer; otherwise 128.")
]
BatchOption = Annotated[int | None, _count("--batch", "Prompts that start together; otherwise 1.")]
BeamsOption = Annotated[
    int | None, _count("--beams", "Hypotheses searched for each answer; otherwise 1.")
]
RoutingOption = Annotated[
    str | None,
    _named(
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
    _named(
        "--quantization",
        "SCHEME",
        "Store the weights in this scheme, not in their own: Q4_K_M, IQ2_XXS, AWQ, NVFP4, 4bit and others.",
    ),
]
OfferedQuantizationOption = Annotated[
    str | None,
    _named(
        "--quantization",
        "SCHEME",
        "Store the weights in this scheme, not in their own: Q4_K_M, IQ2_XXS, AWQ, NVFP4, 4bit and others; "
        "for rosin plan also several, A,B,C, of which any will do.",
        completion.quantization_names,
    ),
]
KvTypeOption = Annotated[
    str | None,
    typer.Option(
        "--kv-type",
        metavar="TYPE",
        help="Store keys and values so: f16, fp8, q8_0, q4_0 and others; otherwise as the model states.",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    str | None,
    _named(
        "--cpu-threads",
        "N",
        "Compute with this many CPU threads, which the machine file must have rates for; otherwise as many as its own rates are for. "
        "For rosin plan also several, N,M; otherwise all that it has rates for.",
    ),
]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--expert-slots-per-layer",
        metavar="N",
        min=0,
        help="Let the GPU hold this many experts of each layer, whatever memory would allow.",
        show_default=False,
    ),
]
GpusOption = Annotated[
    int | None,
    _count(
        "--gpus",
        "Deal the experts out in turn to this many of the machine's GPUs; rosin plan lays whole layers out instead. "
        "Otherwise 1.",
    ),
]
CardLayersOption = Annotated[
    str | None,
    typer.Option(
        "--layers-by-card",
        metavar="N,N,…",
        help="Lay this many layers out on each of the machine's cards, in their order, unlike ones too; 0 leaves one out.",
        show_default=False,
    ),
]
DiskReadsOption = Annotated[
    str | None,
    typer.Option(
        "--disk-reads",
        metavar="KIND",
        help="Where host memory has no room for all experts: cached keeps what is read, direct what was there. "
        "Otherwise cached.",
        show_default=False,
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
    _count(
        "--draws",
        "Average over this many independent draws of the routing; otherwise one, or as many as the plan named was made with "
        "(rosin plan: 4 to 32, rosin whatif: 4).",
    ),
]
ReserveOption = Annotated[
    str | None,
    _named(
        "--reserve-vram",
        "BYTES",
        "Leave so much GPU memory to others, such as 2GiB; the machine has that much less.",
    ),
]
PlanOption = Annotated[
    Path | None, _named("--plan", "FILE", "Take all that no other option says from this plan.")
]
AllowImportOption = Annotated[
    list[str] | None,
    _named(
        "--allow-import",
        "MODULE",
        "Let the plan file import parts of this module, which is run; without it a file imports nothing. May be repeated.",
    ),
]
ScenarioSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        help="Seed of everything random; otherwise 0.",
        show_default=False,
    ),
]
SetAnyOption = Annotated[
    list[str] | None,
    _named(
        "--set",
        "KEY=VALUE",
        "Change a number of the machine (link.h2d.bytes_per_s=50e9) or a parameter of the policy (believed_cost=code); may be repeated.",
    ),
]
