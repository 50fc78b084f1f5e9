"""A plan run by a real runtime, for a person."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import format_bytes
from rosin.commands.validate.runtime_document import RuntimeSpeeds, RuntimeValidateResult
from rosin.report.tables import name_column, number_column, plain_table

PLAN = "the plan"


def runtime_validate_page(result: RuntimeValidateResult) -> Iterator[RenderableType]:
    """Yield the runtime, a line for each set of arguments, the regret, and the placement."""
    yield Text(f"{result.model} with {result.runtime} ({result.program}) on {result.device}")
    yield Text(f"arguments: {result.arguments or 'none'}\n")
    table = plain_table(
        name_column("arguments"),
        *(number_column(name) for name in ("decode", "predicted", "prefill", "predicted", "noise")),
    )
    table.add_row(
        PLAN, *_cells(result.measured, result.predicted), f"{result.decode_noise_fraction:.1%}"
    )
    for rival in result.rivals:
        cells = _cells(rival.measured, rival.predicted)
        table.add_row(rival.name, *cells, f"{rival.decode_noise_fraction:.1%}")
    yield table
    yield Text(
        f"\ntokens/s, {result.rounds} rounds; answers of {result.output_tokens} and prompts of {result.prompt_tokens} tokens"
    )
    yield Text(
        f"error of the plan: decode {result.decode_error_fraction:+.1%}, prefill {result.prefill_error_fraction:+.1%}"
    )
    yield Text(f"predictions rest on {result.rests_on}")
    yield Text(f"regret of the plan in decoding: {result.regret_fraction:.1%}")
    expected = ", ".join(format_bytes(size) for size in result.placement.expected_bytes)
    same = "as evaluated" if result.placement_matches else "NOT as evaluated"
    yield Text(f"weights are placed {same}: {expected} (host, then devices)")
    if result.history is not None:
        yield Text(f"added to {result.history}; rosin accuracy reads it")


def _cells(measured: RuntimeSpeeds, predicted: RuntimeSpeeds) -> tuple[str, ...]:
    return (
        f"{measured.decode_tokens_per_s:.1f}",
        f"{predicted.decode_tokens_per_s:.1f}",
        f"{measured.prefill_tokens_per_s:.0f}",
        f"{predicted.prefill_tokens_per_s:.0f}",
    )
