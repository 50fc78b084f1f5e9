"""Rows of the local history for the runs of a plan."""

from pathlib import Path

from sim.model.model import Model, TensorClass
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP
from validation.accuracy.rows import MeasuredRow
from validation.runtimes.llama_cpp.plan_run import CPU, LOOPBACK, PlanRun, RanOption
from validation.runtimes.llama_cpp.wheel import SHORT_PROMPT_TOKENS


def history_rows(
    ran: PlanRun, *, machine: str, file: Path, stamp: str, line: str
) -> list[MeasuredRow]:
    """Return a row for each set of arguments that ran; ``line`` is the plan's.

    Runs on loopback devices give no rows, because no machine has such devices.
    """
    if ran.device == LOOPBACK:
        return []
    return [
        _row(ran, option, f"{stamp}-{index}", (machine, file, _line(ran, option, line)))
        for index, option in enumerate(ran.options)
    ]


def _row(ran: PlanRun, option: RanOption, row_id: str, where: tuple[str, Path, str]) -> MeasuredRow:
    machine, file, line = where
    return MeasuredRow(
        id=row_id,
        rig=machine,
        machine=machine,
        model=str(file),
        quantization=ran.model.dtypes[TensorClass.EXPERT].upper(),
        bytes_per_weight=bytes_per_weight(ran.model),
        runtime=LLAMA_CPP,
        runtime_version=ran.program,
        args=line,
        prompt_tokens=ran.prompt_tokens,
        context_tokens=0,
        decode_context_tokens=SHORT_PROMPT_TOKENS,
        batch=1,
        prefill_tokens_per_s=round(option.prefill.tokens_per_s, 3),
        decode_tokens_per_s=round(option.decode.tokens_per_s, 3),
        source=f"rosin validate, {option.name}",
        note=f"noise {option.decode.noise_fraction:.1%} a token, {option.prefill.noise_fraction:.1%} a prompt",
    )


def bytes_per_weight(model: Model) -> str:
    """Return the bytes per weight of a file's tensor classes, as a row states them."""
    # The last layer, because the first layers of some models have no experts.
    layer = model.layers[-1]
    experts = layer.bytes[TensorClass.EXPERT] / layer.params[TensorClass.EXPERT]
    dense = layer.bytes[TensorClass.ATTENTION] / layer.params[TensorClass.ATTENTION]
    top = TensorClass.EMBEDDING
    embedding = model.top_bytes[top] / model.top_params[top]
    return f"experts={experts:.6g};dense={dense:.6g};embedding={embedding:.6g}"


def _line(ran: PlanRun, option: RanOption, line: str) -> str:
    """Return the arguments of an option: the plan's, or its rival's instead of them or added to
    them.
    """
    threads = f"-t {option.arguments.threads}"
    if option is ran.plan:
        return f"{line} {threads}"
    return f"{line} {threads} {option.name}" if ran.device == CPU else f"{threads} {option.name}"
