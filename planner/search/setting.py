"""The question of a plan: names and numbers as the user gave them.

Nothing here imports a simulator, so that a plan for a runtime starts at once.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from hwprofiles import InputError, Machine, load_machine, names_machine_file, with_threads
from hwprofiles.file_part import FilePart
from hwprofiles.input_file import is_there
from hwprofiles.limits import (
    MAX_BYTES,
    MAX_DRAWS,
    MAX_EXPERTS,
    MAX_LAYERS,
    MAX_SEED,
    MAX_SEQUENCES,
    Devices,
    Tokens,
)
from hwprofiles.units import format_bytes
from sim.model.library import load_model, model_names, with_kv_type
from sim.model.model import Model
from sim.workload.batch import Batch

if TYPE_CHECKING:
    from sim.costs.cards import CardSplit
    from sim.policies.policy import Policy
    from sim.step.simulate import Question, Scenario

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
"""The name of something in a library, or of a file."""
Sequences = Annotated[int, Field(ge=1, le=MAX_SEQUENCES)]


class Setting(FilePart):
    """The question of a plan: names or paths as the user gave them, and the numbers of the batch.

    ``quantization`` and ``cpu_threads`` are those of the plan; ``offered_*`` are what they were
    chosen from (empty: nothing was offered). Figures are means over ``draws`` of the routing (None:
    one, unless a plan is looked for). ``reserve_vram_bytes`` of GPU memory belong to others.
    ``layers_by_card`` are the layers on each card of the machine, those of its own kind first
    (empty: ``split_mode`` says how ``gpus`` share the model). ``disk_reads`` says whether host
    memory keeps what is read from the disk.
    """

    model: Name
    quantization: Name | None = None
    offered_quantizations: tuple[Name, ...] = ()
    kv_type: Name | None = None
    machine: Name
    machine_overrides: tuple[str, ...] = ()
    cpu_threads: Devices | None = None
    offered_cpu_threads: tuple[Devices, ...] = ()
    prompt_tokens: Tokens
    output_tokens: Tokens
    batch_size: Sequences = 1
    beams: Sequences = 1
    routing: Name | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    draws: Annotated[int, Field(ge=1, le=MAX_DRAWS)] | None = None
    reserve_vram_bytes: Bytes = 0
    expert_slots_per_layer: Annotated[int, Field(ge=0, le=MAX_EXPERTS)] | None = None
    gpus: Devices = 1
    expert_cache_bytes: Bytes | None = None
    layers_by_card: tuple[Annotated[int, Field(ge=0, le=MAX_LAYERS)], ...] = ()
    disk_reads: Literal["cached", "direct"] = "cached"
    split_mode: Literal["layer", "experts", "tensor", "row"] = "layer"

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out keys that most settings do not state, so that their files read as they always
        did.
        """
        values: dict[str, Any] = handler(self)
        if not self.layers_by_card:
            values.pop("layers_by_card", None)
        if self.disk_reads == "cached":
            values.pop("disk_reads", None)
        if self.split_mode == "layer":
            values.pop("split_mode", None)
        return values

    @property
    def batch(self) -> Batch:
        """The prompt, the answer and how many sequences and beams there are."""
        return Batch(
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            batch_size=self.batch_size,
            beams=self.beams,
        )

    def moved(self, change: Callable[[str], str]) -> "Setting":
        """The setting with ``change`` applied to what names a file; names of the libraries stay."""
        updates = {}
        if self.model not in model_names():
            updates["model"] = change(self.model)
        if names_machine_file(self.machine):
            updates["machine"] = change(self.machine)
        # A popularity names a file behind its prefix, which has to stay.
        if self.routing not in (None, "uniform"):
            assert self.routing is not None
            kind, colon, file = self.routing.rpartition("popularity:")
            updates["routing"] = f"{kind}{colon}{change(file)}"
        return self.model_copy(update=updates)

    def loaded_model(self) -> Model:
        """The model in the setting's quantization, with its type of keys and values. Raises
        InputError.
        """
        return with_kv_type(load_model(self.model, self.quantization), self.kv_type)

    def loaded_machine(self) -> Machine:
        """Return the machine with its overrides and CPU threads, less the GPU memory that is
        reserved.

        Raises InputError where no memory would be left, and for a number of threads that the
        machine has no rates for.
        """
        machine = self._unreserved(load_machine(self.machine, self.machine_overrides))
        return machine if self.cpu_threads is None else with_threads(machine, self.cpu_threads)

    def _unreserved(self, machine: Machine) -> Machine:
        if not self.reserve_vram_bytes:
            return machine
        memory_bytes = int(machine.gpu.memory_bytes.effective)
        if self.reserve_vram_bytes >= memory_bytes:
            reserved = format_bytes(self.reserve_vram_bytes)
            raise InputError(
                f"`reserve_vram_bytes` must be less than the GPU's {format_bytes(memory_bytes)}, got {reserved}"
            )
        # As one more override, so that a machine file and its rules are read as ever.
        left = f"gpu.memory_bytes={memory_bytes - self.reserve_vram_bytes}"
        return load_machine(self.machine, (*self.machine_overrides, left))

    def scenario(self, policy: "Policy", engine: str = "fast") -> "Scenario":
        """The setting under a policy. Raises InputError when a name leads nowhere."""
        return self.question(engine).under(policy)

    def question(self, engine: str = "fast") -> "Question":
        """Return what the setting names as a question, to be answered under any policy.

        Raises InputError when a name leads nowhere.
        """
        # Imported here, so that a plan for a runtime starts without a simulator.
        from sim.costs.cards import laid_out
        from sim.costs.host_room import DiskReads
        from sim.routing import load_routing
        from sim.step.simulate import Question

        model = self.loaded_model()
        machine = self.loaded_machine()
        split = self.card_split(machine, model)
        if split is not None and split.layers is not None:
            model = laid_out(model, split)
            machine = split.machines[0]
        return Question(
            machine=machine,
            model=model,
            batch=self.batch,
            routing=load_routing(self.routing, model),
            seed=self.seed,
            engine=engine,
            slots_per_layer=self.expert_slots_per_layer,
            expert_cache_bytes=self.expert_cache_bytes,
            split=split,
            disk_reads=DiskReads(self.disk_reads),
        )

    def card_split(self, machine: Machine, model: Model) -> "CardSplit | None":
        """Return how the model lies over the machine's cards; None on one card.

        Raises InputError for cards that there are not, and for a mode that does not go with the
        rest.
        """
        from planner.search.layouts import by_memory
        from sim.costs.cards import layer_split, shared
        from sim.costs.slices import SplitMode

        if self.split_mode != "layer":
            if self.layers_by_card:
                raise InputError(
                    f"`split_mode` {self.split_mode} does not go with `layers_by_card`"
                )
            return shared(machine, self.gpus, SplitMode(self.split_mode))
        layout = self.layers_by_card
        if not layout and self.gpus > 1:
            layout = by_memory(machine, model, self.gpus)
        return layer_split(machine, model, layout) if layout else None


def to_folder(name: str, folder: Path) -> str:
    """Return a file's path as seen from a folder; an absolute path, and a name of no file, stay."""
    return (
        name
        if Path(name).is_absolute() or not is_there(Path(name))
        else os.path.relpath(name, folder)
    )


def from_folder(name: str, folder: Path) -> str:
    """Return the path of a file that a folder's file names; a name of no file there stays."""
    return os.path.normpath(folder / name) if is_there(folder / name) else name
