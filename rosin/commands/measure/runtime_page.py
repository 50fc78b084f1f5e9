"""The measured kernels of a runtime, for a person."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import BILLION, NS_PER_US, format_rate
from rosin.commands.measure.runtime_document import RuntimeMeasureResult
from rosin.report.tables import format_share, name_column, number_column, plain_table


def runtime_measure_page(result: RuntimeMeasureResult) -> Iterator[RenderableType]:
    """Yield the laws by format, the times of each file, and the errors of the laws."""
    plural = "s" if result.threads > 1 else ""
    yield Text(f"{result.runtime} ({result.program}), {result.threads} thread{plural}\n")
    yield _laws(result)
    yield Text("")
    yield _files(result)
    yield Text("\nerrors on each shape by laws of the others:")
    yield Text(f"a token   {_errors(result.decode_error_fractions)}")
    yield Text(f"a prompt  {_errors(result.prefill_error_fractions)}")
    yield Text(f"Written to {result.path}; every command takes it: --machine {result.path}")


def _laws(result: RuntimeMeasureResult) -> RenderableType:
    table = plain_table(
        name_column("format"),
        number_column("a token reads"),
        number_column("a row"),
        number_column("a matrix"),
        number_column("a prompt's experts"),
        number_column("other products"),
    )
    for name, law in result.kernels.decode.items():
        # Laws of a token and of a prompt are fitted apart, so a format may have the first alone.
        prompt = result.kernels.prompt.get(name)
        table.add_row(
            name,
            format_rate(law.bytes_per_s.effective),
            f"{law.row_ns.effective:.2f} ns",
            f"{law.matrix_ns.effective / NS_PER_US:.2f} us",
            "" if prompt is None else _products(prompt.expert_products_per_s.effective),
            "" if prompt is None else _products(prompt.dense_products_per_s.effective),
        )
    return table


def _products(rate: float) -> str:
    return f"{rate / BILLION:.1f} billion/s"


def _files(result: RuntimeMeasureResult) -> RenderableType:
    table = plain_table(
        name_column("file"),
        number_column("decode ms"),
        number_column("noise"),
        number_column("prefill ms"),
        number_column("noise"),
    )
    for file in result.files:
        table.add_row(
            file.name,
            f"{file.decode_ms:.2f}",
            format_share(file.decode_noise_fraction),
            f"{file.prefill_ms:.3f}",
            format_share(file.prefill_noise_fraction),
        )
    return table


def _errors(errors: Sequence[float]) -> str:
    if not errors:
        return "not known: one shape was measured"
    # Errors of both signs would cancel out.
    sizes = np.abs(errors)
    return f"median {np.median(sizes):.1%}, 90th percentile {np.percentile(sizes, 90):.1%}"
