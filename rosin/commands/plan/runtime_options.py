"""The options of `rosin plan --runtime`, written once."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from rosin.cli.option_groups import OptionGroup

PlanRuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="NAME",
        help="Plan what this program can express, and end in the command to paste: llama.cpp, "
        "ik_llama.cpp, ktransformers, vllm, accelerate or exllamav3.",
        show_default=False,
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="ARGS",
        help="Arguments that you run today, in quotes, or a file of them, such as a device map: how "
        "far from the best they are.",
        show_default=False,
    ),
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        metavar="N",
        min=1,
        help="Rounds of a chat, each with a prompt and an answer that stay in the KV cache.",
        show_default=False,
    ),
]
RoomOption = Annotated[
    int | None,
    typer.Option(
        "--room-tokens",
        metavar="N",
        min=1,
        help="Tokens that the KV cache must have room for; otherwise what the chat needs.",
        show_default=False,
    ),
]
MarginOption = Annotated[
    str | None,
    typer.Option(
        "--vram-margin",
        metavar="BYTES",
        help="Memory of each GPU that stays free; otherwise 1GiB, as --fit of llama.cpp keeps.",
        show_default=False,
    ),
]
ReserveRamOption = Annotated[
    str | None,
    typer.Option(
        "--reserve-ram",
        metavar="BYTES",
        help="Host memory that the system and other programs need; otherwise 2GiB.",
        show_default=False,
    ),
]
AlsoLoadedOption = Annotated[
    str | None,
    typer.Option(
        "--also-loaded",
        metavar="MODELS",
        help="Models that the GPU holds beside this one, with commas: their weights stay free, too.",
        show_default=False,
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
    """What the options of runtimes say, as typed."""

    runtime: PlanRuntimeOption = None
    against: AgainstOption = None
    rounds: RoundsOption = None
    room_tokens: RoomOption = None
    vram_margin: MarginOption = None
    reserve_ram: ReserveRamOption = None
    also_loaded: AlsoLoadedOption = None
    any_policy: AnyPolicyOption = False

    def check_unused(self) -> None:
        """Refuse options of runtimes without --runtime. Raises InputError."""
        from hwprofiles import InputError

        for field in fields(self):
            if field.name != "runtime" and getattr(self, field.name) not in (None, False):
                name = f"--{field.name.replace('_', '-')}"
                raise InputError(f"{name} needs --runtime, which names the program to plan for")

    def words(self) -> list[str]:
        """Return the words of the command line that say it again."""
        found: list[str] = []
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if value in (None, False):
                continue
            found.append(f"--{field.name.replace('_', '-')}")
            # A flag is said by its name alone.
            if value is not True:
                found.append(str(value))
        return found
