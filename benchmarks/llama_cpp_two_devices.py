"""Two devices by loopback RPC: ``-ncmoe`` from 0 to all layers, predicted and measured.

python -m benchmarks.llama_cpp_two_devices --binary FOLDER [--rounds N] [--step N] -o out/two-devices

FOLDER has llama-bench and ggml-rpc-server. A server on this machine stands for the GPU; both sides
have one thread and take turns, so a token's time is the CPU time of both. Laws of the kernels are
measured on the CPU alone on shapes b, c and e; what a node costs more behind the server, and what
each change of sides costs, on the same shapes with all experts there and with none. Shape a is
predicted.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.stats import kendalltau

from benchmarks.llama_cpp_here import TESTED, TRAINED
from hwprofiles import Kind, Quantity, load_machine
from hwprofiles.runtime_kernels import RuntimeKernels
from hwprofiles.units import NS_PER_S
from sim.model.importers.gguf import model_from_gguf
from sim.runtimes import RuntimeHost, RuntimeQuestion, predict, runtime_host
from sim.runtimes.llama_cpp.arguments import LlamaArguments, read_llama_arguments
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
from validation.runtimes.llama_cpp.rpc import LoopbackDevices, loopback_devices
from validation.runtimes.llama_cpp.settings import RunSettings

OUTPUT_TOKENS = 16
FORMAT = WeightFormats(experts="q8_0")
FITTED = (TESTED[0], TRAINED[1], TRAINED[2])
PREDICTED = TRAINED[0]
MACHINE = "desktop-rtx-4090-ddr5"
"""Lends the question a GPU; none of its rates is used where laws cover a part."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One file with one line of arguments, on the CPU alone or with a device."""

    case: Case
    line: str
    has_device: bool

    @property
    def arguments(self) -> LlamaArguments:
        """The line as llama.cpp reads it."""
        return read_llama_arguments(self.line)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of -ncmoe on the predicted shape."""

    cpu_layers: int
    measured_ms: float
    predicted_ms: float
    noise_fraction: float


def main() -> None:
    """Run everything in turn, fit, predict, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=int, default=2)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    alone, fitted, swept = _runs(asked.step)
    with tempfile.TemporaryDirectory(prefix="rosin-") as folder, ExitStack() as stack:
        devices = stack.enter_context(loopback_devices(asked.binary, 1))
        sessions = {
            run: _session(run, asked.binary, Path(folder), devices)
            for run in (*alone, *fitted, *swept)
        }
        samples = _samples(sessions, asked.rounds)
        rows = _rows(alone, fitted, swept, sessions, samples)
    asked.o.mkdir(parents=True, exist_ok=True)
    (asked.o / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    text = page(rows)
    (asked.o / "page.md").write_text(text)
    print(text)


def _runs(step: int) -> tuple[list[Run], list[Run], list[Run]]:
    """Runs on the CPU alone, those that say what a device costs, and those that are predicted."""
    cases = [Case(shape=shape, formats=FORMAT) for shape in FITTED]
    alone = [
        Run(case=case, line="-t 1 -ngl 0", has_device=False)
        for case in (*cases, *map(with_other_top_k, cases))
    ]
    fitted = [
        Run(case=case, line=f"-t 1 -ngl 99 {more}", has_device=True)
        for case in cases
        for more in ("-ncmoe 0", "-cmoe")
    ]
    own = Case(shape=PREDICTED, formats=FORMAT)
    swept = [
        Run(case=own, line=f"-t 1 -ngl 99 -ncmoe {count}", has_device=True)
        for count in range(0, PREDICTED.num_layers + 1, step)
    ]
    return alone, fitted, swept


def _session(run: Run, binary: Path, folder: Path, devices: LoopbackDevices) -> BenchSession:
    path = folder / f"{run.case.name}.gguf"
    if not path.exists():
        write_random_gguf(run.case.shape, run.case.formats, path)
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


def _samples(sessions: Mapping[Run, BenchSession], rounds: int) -> dict[Run, list[Sample]]:
    found: dict[Run, list[Sample]] = {run: [] for run in sessions}
    for index in range(rounds):
        for run in sessions if index % 2 == 0 else reversed(list(sessions)):
            found[run].append(sessions[run].decode(OUTPUT_TOKENS))
        print(f"round {index + 1} of {rounds}", flush=True)
    return found


def _rows(
    alone: Sequence[Run],
    fitted: Sequence[Run],
    swept: Sequence[Run],
    sessions: Mapping[Run, BenchSession],
    samples: Mapping[Run, Sequence[Sample]],
) -> list[Row]:
    """Fit the laws and the costs of the device, then predict the sweep."""
    points = [_point(run, sessions[run], samples[run]) for run in alone]
    measured = Measured(program=sessions[alone[0]].program, threads=1, points=tuple(points))
    kernels = runtime_kernels(measured, fit_laws(points), "benchmark")
    kernels = kernels.model_copy(update={"crossing_ns": _quantity(0.0)})
    host = _host(kernels, 0.0, 0.0)
    node_ns, crossing_ns = _device_costs(fitted, sessions, samples, host, kernels)
    print(f"a node behind the server {node_ns:.0f} ns more, a change of sides {crossing_ns:.0f} ns")
    host = _host(kernels, node_ns, crossing_ns)
    rows = []
    for run in swept:
        took = timed(samples[run])
        rows.append(
            Row(
                cpu_layers=int(run.line.split()[-1]),
                measured_ms=1e3 * took.token_s,
                predicted_ms=1e3 / predict(_question(run, sessions[run], host)).decode.tokens_per_s,
                noise_fraction=took.noise_fraction,
            )
        )
    return rows


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


def _device_costs(
    runs: Sequence[Run],
    sessions: Mapping[Run, BenchSession],
    samples: Mapping[Run, Sequence[Sample]],
    host: RuntimeHost,
    kernels: RuntimeKernels,
) -> tuple[float, float]:
    """What a node costs more behind the server, and a change of sides, in ns: least squares of what
    runs with the device take beyond the laws.
    """
    amounts, beyond = [], []
    for run in runs:
        question = _question(run, sessions[run], host)
        placement = placement_of(question)
        taken_s = timed(samples[run]).token_s
        layers = float((placement.attention >= 0).sum())
        nodes = layers * kernels.nodes_per_layer.value
        amounts.append([nodes / taken_s, placement.num_crossings / taken_s])
        beyond.append(1 - 1 / predict(question).decode.tokens_per_s / taken_s)
    solution, _ = nnls(np.array(amounts), np.array(beyond))
    return float(solution[0] * NS_PER_S), float(solution[1] * NS_PER_S)


def _host(kernels: RuntimeKernels, node_ns: float, crossing_ns: float) -> RuntimeHost:
    """A machine whose GPU computes as the CPU does, with what the device costs more."""
    crossing = _quantity(crossing_ns)
    cpu = kernels.model_copy(update={"crossing_ns": crossing})
    slower = _quantity(kernels.node_ns.value + node_ns)
    gpu = cpu.model_copy(update={"device": "gpu", "node_ns": slower})
    return replace(runtime_host(load_machine(MACHINE)), runtime_kernels=(cpu, gpu))


def _question(run: Run, session: BenchSession, host: RuntimeHost) -> RuntimeQuestion:
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


def page(rows: Sequence[Row]) -> str:
    """The sweep in Markdown, with its errors."""
    lines = [
        "| `-ncmoe` | measured ms | predicted | error | noise |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    errors = [row.predicted_ms / row.measured_ms - 1 for row in rows]
    for row, error in zip(rows, errors, strict=True):
        lines.append(
            f"| {row.cpu_layers} | {row.measured_ms:.2f} | {row.predicted_ms:.2f} | {error:+.1%} | {row.noise_fraction:.1%} |"
        )
    tau = kendalltau(
        [row.measured_ms for row in rows], [row.predicted_ms for row in rows]
    ).statistic
    sizes = np.abs(errors)
    lines += ["", f"median {np.median(sizes):.1%}, worst {sizes.max():.1%}, order tau {tau:.2f}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
