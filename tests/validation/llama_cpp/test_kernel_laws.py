"""Laws of kernels: what is fitted is what was put in, and predictions use what a machine file has."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hwprofiles import Kind, load_machine, machine_data, parse_machine
from hwprofiles.runtime_kernels import RuntimeKernels
from sim.model.importers.gguf import model_from_gguf
from sim.runtimes import (
    RuntimeQuestion,
    notes_on,
    predict,
    read_runtime_arguments,
    runtime_host,
)
from tests.validation.llama_cpp.small_files import TINY
from validation.runtimes.llama_cpp import (
    Case,
    KernelPoint,
    Measured,
    Sample,
    WeightFormats,
    fit_laws,
    runtime_kernels,
    timed,
    with_kernels,
    with_other_top_k,
    write_random_gguf,
)
from validation.runtimes.llama_cpp.kernel_fit import decode_amounts, prompt_amounts, seconds_of

NODES = 55
PROMPT_TOKENS = 64
TRUE_DECODE = {
    ("q8_0", "bytes"): 1e-10,
    ("q8_0", "rows"): 3e-9,
    ("q8_0", "matrices"): 2e-6,
    ("", "nodes"): 1e-6,
}
TRUE_PROMPT = {
    ("q8_0", "experts"): 6e-11,
    ("q8_0", "dense"): 5e-11,
    ("", "layer_tokens"): 2e-6,
}


def points(folder: Path) -> list[KernelPoint]:
    """Files of three shapes, two numbers of experts a token each, that take what the laws say."""
    shapes = [
        replace(TINY, name="a", num_layers=3),
        replace(TINY, name="b", hidden=512, num_layers=2),
        replace(TINY, name="c", expert_intermediate=1024, num_layers=5),
    ]
    cases = [Case(shape=shape, formats=WeightFormats(experts="q8_0")) for shape in shapes]
    return [_point(case, folder) for case in (*cases, *(with_other_top_k(case) for case in cases))]


def _point(case: Case, folder: Path) -> KernelPoint:
    path = folder / f"{case.name}.gguf"
    model = model_from_gguf(write_random_gguf(case.shape, case.formats, path, is_sparse=True))
    decode_s = seconds_of(decode_amounts(model, NODES), TRUE_DECODE)
    prompt_s = seconds_of(prompt_amounts(model, PROMPT_TOKENS), TRUE_PROMPT)
    return KernelPoint(
        name=case.name,
        shape_name=case.shape.name,
        model=model,
        decode=timed([Sample(tokens=1, cpu_s=decode_s, wall_s=decode_s)]),
        prefill=timed([Sample(tokens=PROMPT_TOKENS, cpu_s=prompt_s, wall_s=prompt_s)]),
        prompt_tokens=PROMPT_TOKENS,
        num_nodes=NODES * model.num_layers + 9,
    )


def measured(own: Sequence[KernelPoint]) -> Measured:
    """The points as a program gave them."""
    return Measured(program="llama-bench test", threads=1, points=tuple(own))


def test_the_fit_finds_the_laws_that_times_were_made_of(tmp_path: Path) -> None:
    """Without noise every term comes back, and shapes left out are predicted exactly."""
    laws = fit_laws(points(tmp_path))
    assert laws.nodes_per_layer == pytest.approx(NODES)
    assert dict(laws.decode) == pytest.approx(TRUE_DECODE, rel=1e-4)
    assert dict(laws.prompt) == pytest.approx(TRUE_PROMPT, rel=1e-4)
    assert max(map(abs, (*laws.decode_errors, *laws.prompt_errors))) < 1e-4


def test_a_machine_file_keeps_the_laws(tmp_path: Path) -> None:
    """They are written and read back with source and noise, and replace those that were there."""
    own = points(tmp_path)
    kernels = runtime_kernels(measured(own), fit_laws(own), "1.0")
    machine = with_kernels(load_machine("desktop-rtx-4090-ddr5"), kernels)
    again = parse_machine(machine_data(machine), "again")
    assert again.runtime_kernels == (kernels,)
    assert with_kernels(again, kernels).runtime_kernels == (kernels,)
    rate = kernels.decode["q8_0"].bytes_per_s
    assert rate.kind is Kind.FITTED
    assert "noise" in rate.source
    assert rate.value == pytest.approx(1e10, rel=1e-3)


def test_predictions_rest_on_the_laws_where_the_machine_file_has_them(tmp_path: Path) -> None:
    """A token and a prompt take what the laws say; other threads, and other formats, do not use
    them.
    """
    own = points(tmp_path)
    kernels = runtime_kernels(measured(own), fit_laws(own), "1.0")
    host = replace(
        runtime_host(load_machine("desktop-rtx-4090-ddr5")), gpus=(), runtime_kernels=(kernels,)
    )
    question = RuntimeQuestion(
        runtime="llama.cpp",
        arguments=read_runtime_arguments("llama.cpp", "-t 1"),
        model=own[0].model,
        quantization="Q8_0",
        host=host,
        context_tokens=0,
        prompt_tokens=PROMPT_TOKENS,
    )
    found = predict(question)
    assert found.decode.is_by_measured_kernels
    assert found.decode.seconds["cpu_experts"] + found.decode.seconds["cpu_dense"] == pytest.approx(
        own[0].decode.token_s, rel=0.02
    )
    assert found.prefill.tokens_per_s == pytest.approx(own[0].prefill.tokens_per_s, rel=0.05)
    two = read_runtime_arguments("llama.cpp", "-t 2")
    assert not predict(replace(question, arguments=two)).decode.is_by_measured_kernels
    said = "laws of llama.cpp for 1 threads, and 2 are used"
    assert not any(said in note for note in notes_on(question))
    assert any(said in note for note in notes_on(replace(question, arguments=two)))
    other = replace(question.model, dtypes={name: "q4_k" for name in question.model.dtypes})
    assert not predict(replace(question, model=other)).decode.is_by_measured_kernels
    # Without -t the program takes all cores: laws of as many threads are used, and no others.
    unsaid = replace(question, arguments=read_runtime_arguments("llama.cpp", ""))
    assert not predict(unsaid).decode.is_by_measured_kernels
    one_core = replace(host, cores_per_socket=1, sockets=1)
    assert (
        predict(replace(unsaid, host=one_core)).decode
        == predict(replace(question, host=one_core)).decode
    )


def test_the_error_of_laws_holds_only_where_they_price_everything(tmp_path: Path) -> None:
    """With layers on a GPU, its own laws must have the formats too: else published constants price
    that part, and the interval is theirs.
    """
    own = points(tmp_path)
    cpu = runtime_kernels(measured(own), fit_laws(own), "1.0")
    gpu = cpu.model_copy(update={"device": "gpu"})
    law = cpu.decode["q8_0"]
    other = gpu.model_copy(update={"decode": {"q4_k": law}})
    machine = runtime_host(load_machine("desktop-rtx-4090-ddr5"))

    def is_by_laws(*laws: RuntimeKernels) -> bool:
        """Whether the interval of a token is that of the laws."""
        question = RuntimeQuestion(
            runtime="llama.cpp",
            arguments=read_runtime_arguments("llama.cpp", "-t 1 -ngl 2"),
            model=own[0].model,
            quantization="Q8_0",
            host=replace(machine, runtime_kernels=laws),
            context_tokens=0,
            prompt_tokens=PROMPT_TOKENS,
        )
        return predict(question).decode.is_by_measured_kernels

    assert is_by_laws(cpu, gpu)
    assert not is_by_laws(cpu, other)
    assert not is_by_laws(cpu)


def test_samples_of_one_thread_count_cpu_time() -> None:
    """Time in which another process had the core is left out; several threads are timed by the
    clock, disturbed samples left out.
    """
    assert Sample(tokens=2, cpu_s=1.0, wall_s=4.0).token_s == 0.5
    quiet = [Sample(tokens=1, cpu_s=2.0, wall_s=1.0, threads=2)] * 3
    disturbed = [Sample(tokens=1, cpu_s=2.0, wall_s=5.0, threads=2)] * 4
    found = timed([*quiet, *disturbed])
    assert (found.token_s, found.num_samples, found.num_disturbed) == (1.0, 3, 4)


def test_noise_compares_every_other_sample() -> None:
    """The noise of a drift shows; that of equal samples is none."""
    steady = [Sample(tokens=1, cpu_s=1.0, wall_s=1.0)] * 4
    assert timed(steady).noise_fraction == 0.0
    uneven = [Sample(tokens=1, cpu_s=own, wall_s=own) for own in (1.0, 1.1, 1.0, 1.1)]
    assert timed(uneven).noise_fraction == pytest.approx(1 - 1 / 1.1)
