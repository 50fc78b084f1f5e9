"""The question of a choice: a machine as runtimes see it, a model, and the lengths of a request."""

from dataclasses import dataclass, replace

from hwprofiles import Kind, Machine
from sim.model.model import Model
from sim.runtimes.caching.locality import Locality, locality_of
from sim.runtimes.caching.pricing import CacheRates
from sim.runtimes.host import RuntimeHost
from sim.runtimes.llama_cpp.arguments import ALL_LAYERS, LLAMA_CPP, LlamaArguments
from sim.runtimes.machine_host import runtime_host
from sim.runtimes.question import RuntimeQuestion
from sim.workload.batch import Batch

FREETOKEN = "FreeToken"


@dataclass(frozen=True, kw_only=True)
class ChoiceQuestion:
    """The question of a choice: the best way to run a model's experts on a machine.

    A prompt of ``prompt_tokens`` is read, then ``output_tokens`` are decoded. The last decoded
    token stands for all, with the KV cache as long as it becomes. ``model`` is as llama.cpp's file
    stores it. ``checkpoint`` is as FreeToken's file stores it, None where FreeToken cannot load its
    format.
    """

    host: RuntimeHost
    host_memory_bytes: float | None
    model: Model
    checkpoint: Model | None
    quantization: str
    prompt_tokens: int
    output_tokens: int
    locality: Locality
    rates: CacheRates
    is_link_measured: bool

    @property
    def context_tokens(self) -> int:
        """Tokens in the KV cache at the end."""
        return self.prompt_tokens + self.output_tokens

    def on(self, gpus: tuple[int, ...] | None) -> "ChoiceQuestion":
        """The question with those GPUs alone; None: with all."""
        if gpus is None:
            return self
        kept = tuple(self.host.gpus[index] for index in gpus)
        return replace(self, host=replace(self.host, gpus=kept))

    def run_by(self, program: str) -> "ChoiceQuestion":
        """The question with the model as that program's file stores it."""
        if program != FREETOKEN or self.checkpoint is None:
            return self
        # What neither file shares is beside the experts: a checkpoint has that in 16 bit.
        return replace(self, model=self.checkpoint, quantization=self.checkpoint.quantization)

    def runtime_question(
        self, expert_layers: int, arguments: LlamaArguments | None = None
    ) -> RuntimeQuestion:
        """Return the question to llama.cpp with the experts of the last ``expert_layers`` layers on
        GPUs.

        If ``arguments`` are given, they place the experts instead.
        """
        return RuntimeQuestion(
            runtime=LLAMA_CPP,
            arguments=arguments
            or LlamaArguments(
                runtime=LLAMA_CPP,
                gpu_layers=ALL_LAYERS,
                context_tokens=self.context_tokens,
            ),
            model=self.model,
            quantization=self.quantization,
            host=self.host,
            context_tokens=self.context_tokens,
            prompt_tokens=self.prompt_tokens,
            gpu_expert_layers=None if arguments is not None else expert_layers,
        )


def choice_question(
    machine: Machine,
    model: Model,
    quantization: str,
    prompt_tokens: int,
    output_tokens: int,
    checkpoint: Model | None,
) -> ChoiceQuestion:
    """Return the question for a machine file.

    The joint rate of CPU and link is the file's, where it states their interference. Raises
    InputError for lengths beyond all limits.
    """
    batch = Batch(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    memory = machine.cpu.memory_bytes
    link = machine.link.h2d.bytes_per_s
    return ChoiceQuestion(
        host=runtime_host(machine),
        host_memory_bytes=None if memory is None else memory.effective,
        model=model,
        checkpoint=checkpoint,
        quantization=quantization,
        prompt_tokens=batch.prompt_tokens,
        output_tokens=batch.output_tokens,
        locality=locality_of(model.name),
        rates=CacheRates(both_bytes_per_s=_both(machine)),
        # A published rate was measured as well, unlike a datasheet's.
        is_link_measured=link.kind in (Kind.MEASURED, Kind.PUBLISHED),
    )


def _both(machine: Machine) -> float | None:
    """Return the joint bytes a second of CPU and link, each at its rate beside the other.

    None where the machine states no interference of the two.
    """
    factors = {
        (pair.busy, pair.slows): pair.rate_fraction.effective for pair in machine.interference
    }
    if ("cpu", "h2d") not in factors and ("h2d", "cpu") not in factors:
        return None
    by_cpu = machine.cpu.memory_bytes_per_s.effective * factors.get(("h2d", "cpu"), 1.0)
    by_link = machine.link.h2d.bytes_per_s.effective * factors.get(("cpu", "h2d"), 1.0)
    return by_cpu + by_link
