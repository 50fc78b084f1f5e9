"""Run a plan and its rivals with llama.cpp, interleaved, beside their predictions."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from sim.model.importers.gguf import model_from_gguf
from sim.model.model import Model, TensorClass
from sim.runtimes.features import cores_in_use
from sim.runtimes.host import RuntimeHost
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP, LlamaArguments
from sim.runtimes.predict import RuntimePrediction, predict
from sim.runtimes.question import RuntimeQuestion
from validation.runtimes.llama_cpp.bench import BenchSession
from validation.runtimes.llama_cpp.open_session import find_bench, own_devices
from validation.runtimes.llama_cpp.plan_question import PLAN, rivals_of
from validation.runtimes.llama_cpp.rpc import LoopbackDevices, loopback_devices
from validation.runtimes.llama_cpp.sample import Sample, Timed, timed
from validation.runtimes.llama_cpp.session import LlamaSession
from validation.runtimes.llama_cpp.settings import RunLoad, RunSettings
from validation.runtimes.llama_cpp.tensor_placement import PlacedBytes, placed_bytes
from validation.runtimes.llama_cpp.wheel import SHORT_PROMPT_TOKENS, WheelSession

CPU = "cpu"
LOOPBACK = "loopback devices"

OnRun = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RanOption:
    """One set of arguments: its prediction, its measured times, and where its weights were put."""

    name: str
    arguments: LlamaArguments
    prediction: RuntimePrediction
    decode: Timed
    prefill: Timed
    placed: PlacedBytes


@dataclass(frozen=True, kw_only=True)
class PlanRun:
    """All runs, the plan first.

    ``device`` says what stood for the GPUs, or that everything ran on the CPU.
    """

    program: str
    device: str
    model: Model
    prompt_tokens: int
    options: tuple[RanOption, ...]

    @property
    def plan(self) -> RanOption:
        """The plan's own run."""
        return self.options[0]

    @property
    def regret_fraction(self) -> float:
        """How much slower the plan decodes than the fastest option that was run."""
        best = min(option.decode.token_s for option in self.options)
        return self.plan.decode.token_s / best - 1


def run_plan(
    file: Path,
    arguments: LlamaArguments,
    host: RuntimeHost,
    binary: Path | None,
    load: RunLoad,
    on_run: OnRun = lambda name: None,
) -> PlanRun:
    """Run the plan and its rivals once a round.

    llama-bench runs on the GPUs that it lists. If it lists none, servers on this machine stand for
    them. The wheel has the CPU alone, and its runs are predicted without GPUs. Raises InputError if
    llama.cpp fails.
    """
    bench = find_bench(binary)
    model = model_from_gguf(file)
    threads = arguments.threads or default_threads(host)
    # A fit would change what was planned.
    arguments = replace(arguments, threads=threads, is_fitted=False)
    with ExitStack() as stack:
        devices = LoopbackDevices(addresses=(), processes=())
        # As many as the plan's machine has, though this computer may have more.
        buffers = () if bench is None else own_devices(bench)[: len(host.gpus)]
        if bench is not None and host.gpus and not buffers:
            devices = stack.enter_context(loopback_devices(bench.parent, len(host.gpus), threads))
            buffers = devices.buffers
        runner = _Runner(file, model, _as_run(host, buffers, devices), bench, devices, buffers)
        options = rivals_of(arguments, model.num_layers, len(buffers))
        sessions = {
            name: stack.enter_context(closing(runner.session(own))) for name, own in options.items()
        }
        timings = _timed_rounds(sessions, load, on_run)
        ran = tuple(
            runner.ran(name, own, sessions[name], timings[name], load)
            for name, own in options.items()
        )
        program = sessions[PLAN].program
    where = LOOPBACK if devices.addresses else ", ".join(buffers) or CPU
    return PlanRun(
        program=program,
        device=where,
        model=model,
        prompt_tokens=load.prompt_tokens,
        options=ran,
    )


def default_threads(host: RuntimeHost) -> int:
    """Return the threads of a run whose arguments state none.

    The number is that of the machine's laws, else one for each core of the machine that this
    computer has.
    """
    if host.runtime_kernels:
        return host.runtime_kernels[0].threads
    return threads_here(host)


def threads_here(host: RuntimeHost) -> int:
    """Return one thread for each core of the machine, as plans have, up to this computer's
    cores.
    """
    return min(int(cores_in_use(host, None)), os.cpu_count() or 1)


def _as_run(host: RuntimeHost, buffers: tuple[str, ...], devices: LoopbackDevices) -> RuntimeHost:
    """The machine as it is run: without GPUs, or with processes of the CPU in their place.

    Such a process runs the CPU's kernels, so the laws of the CPU hold for it.
    """
    if not buffers:
        return replace(host, gpus=())
    if not devices.addresses:
        return host
    doubled = tuple(laws.model_copy(update={"device": "gpu"}) for laws in host.runtime_kernels)
    return replace(host, runtime_kernels=(*host.runtime_kernels, *doubled))


@dataclass(frozen=True, slots=True)
class _Runner:
    """The common part of all options of one run. ``buffers`` name the memory of its devices."""

    file: Path
    model: Model
    host: RuntimeHost
    bench: Path | None
    devices: LoopbackDevices
    buffers: tuple[str, ...]

    def session(self, arguments: LlamaArguments) -> LlamaSession:
        """Return a session of llama.cpp with those arguments."""
        settings = RunSettings(model_file=self.file, arguments=arguments, devices=self.buffers)
        if self.bench is None:
            return WheelSession(settings, self.model.vocab)
        overrides = settings.overrides(self.model.num_layers, self.model.moe_layers)
        return BenchSession(
            self.bench, settings, overrides, self.devices.addresses, self.devices.processes
        )

    def ran(
        self,
        name: str,
        arguments: LlamaArguments,
        session: LlamaSession,
        timings: tuple[Timed, Timed],
        load: RunLoad,
    ) -> RanOption:
        """Return one option with its times, prediction and placement."""
        memory = {
            buffer: gpu.memory_bytes
            # A plan may be for more GPUs than this computer has.
            for buffer, gpu in zip(self.buffers, self.host.gpus, strict=False)
        }
        return RanOption(
            name=name,
            arguments=arguments,
            prediction=predict(self.question(arguments, load)),
            decode=timings[0],
            prefill=timings[1],
            placed=placed_bytes(self.file, arguments, memory, session.log),
        )

    def question(self, arguments: LlamaArguments, load: RunLoad) -> RuntimeQuestion:
        """Return the question that predicts an option."""
        return RuntimeQuestion(
            runtime=LLAMA_CPP,
            arguments=arguments,
            model=self.model,
            quantization=self.model.dtypes[TensorClass.EXPERT].upper(),
            host=self.host,
            # The mean context of the tokens that are timed.
            context_tokens=SHORT_PROMPT_TOKENS + load.output_tokens // 2,
            prompt_tokens=load.prompt_tokens,
        )


def _timed_rounds(
    sessions: Mapping[str, LlamaSession], load: RunLoad, on_run: OnRun
) -> dict[str, tuple[Timed, Timed]]:
    """Run every session once a round, in alternating order, and return the times by name."""
    decodes: dict[str, list[Sample]] = {name: [] for name in sessions}
    prefills: dict[str, list[Sample]] = {name: [] for name in sessions}
    names: Sequence[str] = tuple(sessions)
    for index in range(load.rounds):
        # In turn, so that no option always runs behind the same other one.
        for name in names if index % 2 == 0 else tuple(reversed(names)):
            decodes[name].append(sessions[name].decode(load.output_tokens))
            prefills[name].append(sessions[name].prefill(load.prompt_tokens))
            on_run(name)
    return {name: (timed(decodes[name]), timed(prefills[name])) for name in sessions}
