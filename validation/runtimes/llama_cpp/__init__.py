"""Run llama.cpp for real: small random files, runs and their times, and laws of its kernels."""

from validation.runtimes.llama_cpp.history_rows import history_rows
from validation.runtimes.llama_cpp.kernel_file import runtime_kernels, with_kernels
from validation.runtimes.llama_cpp.kernel_fit import FittedLaws, fit_laws
from validation.runtimes.llama_cpp.kernel_points import (
    EFFORT,
    KernelPoint,
    Measured,
    measure_points,
)
from validation.runtimes.llama_cpp.open_session import session_opener
from validation.runtimes.llama_cpp.plan_question import (
    PlanQuestion,
    model_file,
    read_question,
    rivals_of,
)
from validation.runtimes.llama_cpp.plan_run import PlanRun, RanOption, run_plan
from validation.runtimes.llama_cpp.random_file import (
    MoeShape,
    WeightFormats,
    copy_sparse,
    file_bytes,
    write_random_gguf,
)
from validation.runtimes.llama_cpp.sample import Sample, Timed, timed
from validation.runtimes.llama_cpp.settings import RunLoad
from validation.runtimes.llama_cpp.shapes import Case, cases_of, small_shape, with_other_top_k

__all__ = [
    "EFFORT",
    "Case",
    "FittedLaws",
    "KernelPoint",
    "Measured",
    "MoeShape",
    "PlanQuestion",
    "PlanRun",
    "RanOption",
    "RunLoad",
    "Sample",
    "Timed",
    "WeightFormats",
    "cases_of",
    "copy_sparse",
    "file_bytes",
    "fit_laws",
    "history_rows",
    "measure_points",
    "model_file",
    "read_question",
    "rivals_of",
    "run_plan",
    "runtime_kernels",
    "session_opener",
    "small_shape",
    "timed",
    "with_kernels",
    "with_other_top_k",
    "write_random_gguf",
]
