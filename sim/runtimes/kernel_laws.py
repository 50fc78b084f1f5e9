"""Seconds of a step by laws that were measured on this machine with the program itself."""

from collections.abc import Container
from dataclasses import dataclass, replace

from hwprofiles.runtime_kernels import RuntimeKernels
from hwprofiles.units import NS_PER_S
from sim.model.model import TensorClass
from sim.runtimes.features import cores_in_use
from sim.runtimes.kernel_work import KernelWork, kernel_work
from sim.runtimes.placement import HOST, DevicePlacement
from sim.runtimes.prices import Seconds
from sim.runtimes.question import RuntimeQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedLaws:
    """The laws of the CPU for a question, and those of its GPUs where they were measured."""

    cpu: RuntimeKernels
    gpu: RuntimeKernels | None


def laws_of(question: RuntimeQuestion, threads: int | None) -> UsedLaws | None:
    """Return the laws of the question's program for that number of threads; None without any.

    Laws hold for one number of threads and no other. ``threads`` None stands for the program's own
    choice, which is all physical cores. A stated number and the same number by choice are thus both
    priced by laws.
    """
    used = int(cores_in_use(question.host, None)) if threads is None else threads
    own = [
        laws
        for laws in question.host.runtime_kernels
        # No scaling to other numbers of threads: how rates follow them is what was not measured.
        if laws.runtime == question.runtime and laws.threads == used
    ]
    cpu = next((laws for laws in own if laws.device == "cpu"), None)
    if cpu is None:
        return None
    return UsedLaws(cpu=cpu, gpu=next((laws for laws in own if laws.device == "gpu"), None))


def covers_decode(question: RuntimeQuestion, placement: DevicePlacement, laws: UsedLaws) -> bool:
    """Whether the laws price the weights of one token on every device."""
    devices = [(HOST, laws.cpu), *((gpu, laws.gpu) for gpu in range(placement.num_gpus))]
    return all(
        own is not None and _covers(own.decode, _work(question, placement, device))
        for device, own in devices
    )


def decode_by_laws(
    question: RuntimeQuestion, placement: DevicePlacement, laws: UsedLaws, seconds: Seconds
) -> Seconds | None:
    """Return the seconds of one token, with the parts that the laws cover priced by them.

    None where the CPU's part has a format that was not measured.
    """
    host = _work(question, placement, HOST)
    # One format without a law, and the published constants price the CPU's part whole.
    if not _covers(laws.cpu.decode, host):
        return None
    experts, dense = _decode_parts(host, laws.cpu)
    seconds = replace(seconds, cpu_experts=experts, cpu_dense=dense)
    if laws.cpu.crossing_ns is not None:
        count = placement.num_crossings + placement.crossings_between_gpus
        crossings = count * laws.cpu.crossing_ns.effective / NS_PER_S
        seconds = replace(seconds, crossings=crossings)
    if laws.gpu is None:
        return seconds
    on_gpus = [_work(question, placement, gpu) for gpu in range(placement.num_gpus)]
    # The CPU's part keeps its laws all the same.
    if not all(_covers(laws.gpu.decode, work) for work in on_gpus):
        return seconds
    total = sum(sum(_decode_parts(work, laws.gpu)) for work in on_gpus)
    return replace(seconds, gpu_weights=total)


def prompt_by_laws(
    question: RuntimeQuestion, placement: DevicePlacement, laws: UsedLaws, seconds: Seconds
) -> Seconds | None:
    """Return the seconds of a prompt, with the parts that the laws cover priced by them.

    The laws hold where experts are computed where they are. They include attention within as many
    tokens as they were measured with. Of longer prompts, the share of attention beyond is added.
    None where the laws do not cover the prompt.
    """
    own = laws.cpu
    work = _work(question, placement, HOST)
    if own.layer_token_ns is None or own.prompt_tokens is None:
        return None
    if not own.prompt or not _covers(own.prompt, work):
        return None
    tokens = question.prompt_tokens
    experts = 0.0
    dense = 0.0
    for name, products in work.products.items():
        law = own.prompt[name]
        for item in products:
            # Behind the last attention only one token is wanted, whatever the prompt's length.
            count = item.weights * (1 if item.is_of_last_token else tokens)
            if item.tensor_class is TensorClass.EXPERT:
                experts += count / law.expert_products_per_s.effective
            else:
                dense += count / law.dense_products_per_s.effective
    dense += work.layers * tokens * own.layer_token_ns.effective / NS_PER_S
    # Pairs of a prompt grow with tokens · (tokens + 2 · context) / 2. What the laws were measured
    # with is part of their own time a token.
    beyond = max(0.0, 1.0 - own.prompt_tokens / (tokens + 2 * question.prompt_context_tokens))
    attention = seconds.cpu_attention * beyond
    return replace(seconds, cpu_experts=experts, cpu_dense=dense, cpu_attention=attention)


def _work(question: RuntimeQuestion, placement: DevicePlacement, device: int) -> KernelWork:
    return kernel_work(question.model, placement, device, question.arguments.experts_per_token)


def _covers(laws: Container[str], work: KernelWork) -> bool:
    return all(name in laws for name in work.products)


def _decode_parts(work: KernelWork, own: RuntimeKernels) -> tuple[float, float]:
    """Seconds of routed experts, and of everything else."""
    experts = 0.0
    dense = 0.0
    for name, products in work.products.items():
        law = own.decode[name]
        for item in products:
            seconds = item.num_bytes / law.bytes_per_s.effective
            seconds += item.rows * law.row_ns.effective / NS_PER_S
            seconds += item.matrices * law.matrix_ns.effective / NS_PER_S
            if item.tensor_class is TensorClass.EXPERT:
                experts += seconds
            else:
                dense += seconds
    # Small tensors are in wide formats, which are read at the memory's rate without unpacking.
    fastest = max(law.bytes_per_s.effective for law in own.decode.values())
    nodes = work.layers * own.nodes_per_layer.effective
    dense += work.read_along_bytes / fastest + nodes * own.node_ns.effective / NS_PER_S
    return experts, dense
