"""Two devices by loopback RPC: the runs on them, and the laws and costs that predict these runs.

A server of one thread on this machine stands for the GPU. Client and server take turns, so a
token's time is the CPU time of both. Laws of the kernels are measured on the CPU alone, on shapes
b, c and e. The costs of crossing to the server are measured on the same shapes: with all experts
there, with half, and with none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmarks.llama_cpp_here import TESTED, TRAINED
from hwprofiles import Kind, Quantity, load_machine
from hwprofiles.runtime_kernels import RuntimeKernels
from hwprofiles.units import NS_PER_S
from sim.model.importers.gguf import model_from_gguf
from sim.runtimes import RuntimeHost, RuntimeQuestion, predict, runtime_host
from sim.runtimes.llama_cpp.arguments import LlamaArguments, read_llama_arguments
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of
from validation.runtimes.llama_cpp import (
    Case,
    KernelPoint,
    Measured,
    Sample,
    WeightFormats,
    fit_laws,
    runtime_kernels,
    timed,
    with_other_top_k,
    write_random_gguf,
)
from validation.runtimes.llama_cpp.bench import BenchSession
from validation.runtimes.llama_cpp.rpc import LoopbackDevices
from validation.runtimes.llama_cpp.settings import RunSettings

OUTPUT_TOKENS = 16
FORMAT = WeightFormats(experts="q8_0")
FITTED = (TESTED[0], TRAINED[1], TRAINED[2])
PREDICTED = TRAINED[0]
MACHINE = "desktop-rtx-4090-ddr5"
"""The machine that lends the question a GPU; laws replace its rates in every part that they cover.
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One file with one line of arguments, on the CPU alone or with a device."""

    case: Case
    arguments: LlamaArguments
    has_device: bool


@dataclass(frozen=True, kw_only=True)
class LawRuns:
    """The runs that laws and costs are fitted on: on the CPU alone, and with the device."""

    alone: tuple[Run, ...]
    beside: tuple[Run, ...]

    @property
    def all(self) -> tuple[Run, ...]:
        """All runs: those on the CPU alone, then those with the device."""
        return (*self.alone, *self.beside)


def law_runs() -> LawRuns:
    """Return the runs of the shapes that laws are fitted on."""
    own = [Case(shape=shape, formats=FORMAT) for shape in FITTED]
    # Two numbers of experts a token tell the experts' costs from those around them.
    cases = (*own, *map(with_other_top_k, own))
    return LawRuns(
        alone=tuple(
            Run(case=case, arguments=read_llama_arguments("-t 1 -ngl 0"), has_device=False)
            for case in cases
        ),
        beside=tuple(
            Run(case=case, arguments=device_arguments(more), has_device=True)
            for case in cases
            # Half of the layers too: what is sent grows with the square, changes of sides do not.
            for more in ("-ncmoe 0", f"-ncmoe {case.shape.num_layers // 2}", "-cmoe")
        ),
    )


def device_arguments(more: str) -> LlamaArguments:
    """Return arguments with all layers on the device except for what ``more`` says."""
    return read_llama_arguments(f"-t 1 -ngl 99 {more}")


def model_file(folder: Path, case: Case) -> Path:
    """Return the path of the case's file, and write the file when it is first asked for."""
    path = folder / f"{case.name}.gguf"
    if not path.exists():
        write_random_gguf(case.shape, case.formats, path)
    return path


def session_of(run: Run, binary: Path, folder: Path, devices: LoopbackDevices) -> BenchSession:
    """Return the session of llama-bench that takes a run's samples."""
    path = model_file(folder, run.case)
    buffers = devices.buffers if run.has_device else ()
    settings = RunSettings(model_file=path, arguments=run.arguments, devices=buffers)
    layers = range(run.case.shape.num_layers)
    return BenchSession(
        binary / "llama-bench",
        settings,
        settings.overrides(len(layers), layers),
        devices.addresses if run.has_device else (),
        devices.processes if run.has_device else (),
    )


def samples_of(sessions: Mapping[Run, BenchSession], rounds: int) -> dict[Run, list[Sample]]:
    """Take samples of all runs in rounds, in alternating order."""
    found: dict[Run, list[Sample]] = {run: [] for run in sessions}
    for index in range(rounds):
        for run in sessions if index % 2 == 0 else reversed(list(sessions)):
            found[run].append(sessions[run].decode(OUTPUT_TOKENS))
        print(f"round {index + 1} of {rounds}", flush=True)
    return found


@dataclass(frozen=True, kw_only=True)
class ServerCosts:
    """Costs that the server adds, in ns: per node computed, per change of sides, per node sent.

    If a token visits the server once, the graph is sent once and then run again. If a token visits
    it more often, every visit sends the graph anew. ggml-rpc sends a node with all that it was
    computed from, back to the first layer (``add_tensor`` in ggml-rpc.cpp at 0c1e57098). So later
    visits send more.
    """

    node_ns: float
    crossing_ns: float
    sent_node_ns: float

    def token_s(self, run: Run, session: BenchSession, host: RuntimeHost) -> float:
        """Return the predicted time of a token of that run, in seconds."""
        question = question_of(run, session, host)
        sent = sent_nodes(run, session, placement_of(question))
        return 1.0 / predict(question).decode.tokens_per_s + sent * self.sent_node_ns / NS_PER_S


def sent_nodes(run: Run, session: BenchSession, placement: DevicePlacement) -> float:
    """Return how many nodes a token sends to the server, each as often as it is sent.

    The program's log counts the graph's nodes; all layers are taken to have equally many.
    """
    num_nodes = session.log.num_nodes
    assert num_nodes is not None, "the log of a run counts the nodes of its graph"
    return _sent_layers(placement) * num_nodes / run.case.shape.num_layers


def _sent_layers(placement: DevicePlacement) -> int:
    is_there = placement.attention >= 0
    leaves = is_there & (placement.expert_fraction[:, 0] > 0)
    if not leaves.any():
        return 0
    before = np.cumsum(is_there)
    return int(before[leaves].sum() + before[-1])


def fitted_host(
    runs: LawRuns, sessions: Mapping[Run, BenchSession], samples: Mapping[Run, Sequence[Sample]]
) -> tuple[RuntimeHost, ServerCosts]:
    """Return a machine with the laws of the kernels, and the costs of the server."""
    points = [_point(run, sessions[run], samples[run]) for run in runs.alone]
    program = sessions[runs.alone[0]].program
    measured = Measured(program=program, threads=1, points=tuple(points))
    kernels = runtime_kernels(measured, fit_laws(points), "benchmark")
    kernels = kernels.model_copy(update={"crossing_ns": _quantity(0.0)})
    without = _host(kernels, 0.0, 0.0)
    costs = _server_costs(runs.beside, sessions, samples, without, kernels)
    print(
        f"a node behind the server {costs.node_ns:.0f} ns more, a change of sides "
        f"{costs.crossing_ns:.0f} ns, a node that is sent {costs.sent_node_ns:.0f} ns"
    )
    return _host(kernels, costs.node_ns, costs.crossing_ns), costs


def _point(run: Run, session: BenchSession, samples: Sequence[Sample]) -> KernelPoint:
    took = timed(samples)
    model = model_from_gguf(session.model_file)
    return KernelPoint(
        name=run.case.name,
        shape_name=run.case.shape.name,
        model=model,
        decode=took,
        prefill=took,
        prompt_tokens=1,
        num_nodes=session.log.num_nodes,
    )


def _server_costs(
    runs: Sequence[Run],
    sessions: Mapping[Run, BenchSession],
    samples: Mapping[Run, Sequence[Sample]],
    host: RuntimeHost,
    kernels: RuntimeKernels,
) -> ServerCosts:
    """Fit the server's costs to the runs with the device.

    Costs of nodes come from the time that a file takes beyond the laws with all experts on the
    device. Costs of crossings and of sent nodes come from how much more the file takes with experts
    on the host. In this difference, errors of the laws cancel. Least squares are over shares of a
    run's time, so that long runs do not outweigh short ones.
    """
    shares: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
    beyond: dict[bool, list[float]] = {False: [], True: []}
    whole_s: dict[Case, float] = {}
    for run in runs:
        question = question_of(run, sessions[run], host)
        placement = placement_of(question)
        crossings = placement.num_crossings
        taken_s = timed(samples[run]).token_s
        more_s = taken_s - 1 / predict(question).decode.tokens_per_s
        if not _sent_layers(placement):
            whole_s[run.case] = more_s
            layers = float((placement.attention >= 0).sum())
            shares[False].append((layers * kernels.nodes_per_layer.value / taken_s,))
            beyond[False].append(more_s / taken_s)
        else:
            sent = sent_nodes(run, sessions[run], placement)
            shares[True].append((crossings / taken_s, sent / taken_s))
            beyond[True].append((more_s - whole_s[run.case]) / taken_s)
    [node_s] = nnls(np.array(shares[False]), np.array(beyond[False]))[0]
    crossing_s, sent_s = nnls(np.array(shares[True]), np.array(beyond[True]))[0]
    return ServerCosts(
        node_ns=float(node_s * NS_PER_S),
        crossing_ns=float(crossing_s * NS_PER_S),
        sent_node_ns=float(sent_s * NS_PER_S),
    )


def _host(kernels: RuntimeKernels, node_ns: float, crossing_ns: float) -> RuntimeHost:
    """Return a machine whose GPU computes as the CPU does, with the extra costs of the device."""
    crossing = _quantity(crossing_ns)
    cpu = kernels.model_copy(update={"crossing_ns": crossing})
    slower = _quantity(kernels.node_ns.value + node_ns)
    gpu = cpu.model_copy(update={"device": "gpu", "node_ns": slower})
    known = runtime_host(load_machine(MACHINE))
    # One core, as runs have: a plan takes as many threads as there are cores.
    return replace(known, sockets=1, cores_per_socket=1, runtime_kernels=(cpu, gpu))


def question_of(run: Run, session: BenchSession, host: RuntimeHost) -> RuntimeQuestion:
    """Return the run as a question about one decoded token."""
    return RuntimeQuestion(
        runtime="llama.cpp",
        arguments=run.arguments,
        model=model_from_gguf(session.model_file),
        quantization="Q8_0",
        host=host,
        context_tokens=0,
        prompt_tokens=1,
    )


def _quantity(value: float) -> Quantity:
    return Quantity(value=value, kind=Kind.FITTED, source="this benchmark", date="undated")
