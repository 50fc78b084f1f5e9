"""Measured kernels of a program as the document that ``rosin measure --runtime`` writes."""

from pathlib import Path

from hwprofiles.runtime_kernels import RuntimeKernels
from hwprofiles.units import MS_PER_S
from rosin.report.document import Document
from validation.runtimes.llama_cpp import FittedLaws, Measured


class MeasuredFile(Document):
    """One small file: milliseconds a token, and the share by which repeated runs differ."""

    name: str
    decode_ms: float
    decode_noise_fraction: float
    prefill_ms: float
    prefill_noise_fraction: float


class RuntimeMeasureResult(Document):
    """The answer of ``rosin measure --runtime``."""

    path: str
    runtime: str
    program: str
    threads: int
    kernels: RuntimeKernels
    files: list[MeasuredFile]
    decode_error_fractions: list[float]
    prefill_error_fractions: list[float]


def runtime_measure_result(
    measured: Measured, kernels: RuntimeKernels, laws: FittedLaws, path: Path
) -> RuntimeMeasureResult:
    """Return the laws, the times of each file, and the errors on shapes that were left out of the
    fit.
    """
    files = [
        MeasuredFile(
            name=point.name,
            decode_ms=MS_PER_S * point.decode.token_s,
            decode_noise_fraction=point.decode.noise_fraction,
            prefill_ms=MS_PER_S * point.prefill.token_s,
            prefill_noise_fraction=point.prefill.noise_fraction,
        )
        for point in measured.points
    ]
    return RuntimeMeasureResult(
        path=str(path),
        runtime=kernels.runtime,
        program=measured.program,
        threads=measured.threads,
        kernels=kernels,
        files=files,
        decode_error_fractions=list(laws.decode_errors),
        prefill_error_fractions=list(laws.prompt_errors),
    )
