"""The options of `rosin plan --runtime`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup

PlanRuntimeOption = Annotated[
    str | None,
    named(
        "--runtime",
        "NAME",
        "Plan what this program can express, and end in the command to paste: llama.cpp, "
        "ik_llama.cpp, ktransformers, vllm, accelerate or exllamav3.",
    ),
]
AgainstOption = Annotated[
    str | None,
    named(
        "--against",
        "ARGS",
        "Arguments that you run today, in quotes, or a file of them, such as a device map: how "
        "far from the best they are.",
    ),
]
RoundsOption = Annotated[
    int | None,
    named(
        "--rounds",
        "N",
        "Rounds of a chat, each with a prompt and an answer that stay in the KV cache.",
        least=1,
    ),
]
RoomOption = Annotated[
    int | None,
    named(
        "--room-tokens",
        "N",
        "Tokens that the KV cache must have room for; otherwise what the chat needs.",
        least=1,
    ),
]
MarginOption = Annotated[
    str | None,
    named(
        "--vram-margin",
        "BYTES",
        "Memory of each GPU that stays free; otherwise 1GiB, as --fit of llama.cpp keeps.",
    ),
]
ReserveRamOption = Annotated[
    str | None,
    named(
        "--reserve-ram",
        "BYTES",
        "Host memory that the system and other programs need; otherwise, and at least, 4GB.",
    ),
]
AlsoLoadedOption = Annotated[
    str | None,
    named(
        "--also-loaded",
        "MODELS",
        "Other models that the GPU holds, with commas between: the plan leaves room for their weights.",
    ),
]
AnyPolicyOption = Annotated[
    bool,
    typer.Option(
        "--any-policy",
        help="Search all policies too, and say what the runtime's missing features cost.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlanOptions(OptionGroup):
    """The options of a plan for a runtime, as typed."""

    runtime: PlanRuntimeOption = None
    against: AgainstOption = None
    rounds: RoundsOption = None
    room_tokens: RoomOption = None
    vram_margin: MarginOption = None
    reserve_ram: ReserveRamOption = None
    also_loaded: AlsoLoadedOption = None
    any_policy: AnyPolicyOption = False
