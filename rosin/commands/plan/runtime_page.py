"""A plan for a runtime in a user's words: the command to paste, its speed, and its rivals."""

import shlex
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from rosin.commands.plan.runtime_document import RuntimePlanResult, RuntimeRivalRow
from rosin.commands.simulate.runtime_page import (
    coverage_words,
    limit_words,
    memory_parts,
    number_words,
    speed_words,
)
from rosin.report.tables import name_column, number_column, plain_table


def runtime_plan_page(result: RuntimePlanResult) -> Iterator[RenderableType]:
    """Yield the plan in words, its rivals and the memory; the caller prints the command."""
    yield Text(f"{result.model} {result.quantization} with {result.runtime} on {result.machine}")
    yield Text(_load_words(result))
    yield Text(f"plan: {result.placed}\n")
    yield from _speeds(result)
    yield Text("")
    yield _rivals(result)
    yield from _reasons(result)
    yield Text("")
    yield _memory(result)
    yield from _over(result)
    yield from _best_possible(result)


def _load_words(result: RuntimePlanResult) -> str:
    rounds = f"{result.rounds} rounds, each " if result.rounds > 1 else ""
    return (
        f"{rounds}{result.prompt_tokens:,} prompt tokens and {result.output_tokens:,} answered, "
        f"room for {result.room_tokens:,}; predicted, not measured"
    )


def _speeds(result: RuntimePlanResult) -> Iterator[RenderableType]:
    both = result.predicted
    yield Text(f"decode   {speed_words(both.decode)}, limited by {limit_words(both.decode)}")
    yield Text(f"prefill  {speed_words(both.prefill)}, limited by {limit_words(both.prefill)}")
    yield Text(
        f"first token after {format_duration(both.ttft_s)}, "
        f"the whole answer after {format_duration(both.end_to_end_s)}"
    )
    yield Text(f"{coverage_words(both.decode)}; they rest on {result.rests_on}")


def _rivals(result: RuntimePlanResult) -> Table:
    """Return a table of speeds: the plan, the user's own arguments, then the rivals by speed."""
    columns = [number_column(name) for name in ("decode", "prefill", "whole", "of the plan")]
    table = plain_table(name_column("compared with"), *columns)
    both = result.predicted
    table.add_row(
        "this plan",
        number_words(both.decode.tokens_per_s),
        number_words(both.prefill.tokens_per_s),
        format_duration(both.end_to_end_s),
        "100 %",
    )
    rows = [row for row in result.rivals if row.speed_fraction is not None]
    rows.sort(key=lambda row: -(row.speed_fraction or 0.0))
    # What the user runs today comes first: the comparison was asked for because of it.
    own = [] if result.against is None else [result.against]
    for row in [*own, *rows]:
        table.add_row(*_rival_cells(row))
    return table


def _rival_cells(row: RuntimeRivalRow) -> tuple[str, ...]:
    assert row.decode_tokens_per_s is not None
    assert row.prefill_tokens_per_s is not None
    assert row.end_to_end_s is not None
    assert row.speed_fraction is not None
    return (
        row.name,
        number_words(row.decode_tokens_per_s),
        number_words(row.prefill_tokens_per_s),
        format_duration(row.end_to_end_s),
        f"{row.speed_fraction:.0%}".replace("%", " %"),
    )


def _reasons(result: RuntimePlanResult) -> Iterator[RenderableType]:
    """Yield why rivals have no row, and the bytes that the user's own arguments need too many."""
    for row in result.rivals:
        if row.reason is not None:
            yield Text(f"{row.name}: {row.reason}")
        # A plan is at least as fast as what it may be, so this is faster and not offered.
        elif row.speed_fraction is not None and row.speed_fraction > 1 and row.arguments:
            words = shlex.join(row.arguments)
            yield Text(f'{row.name}: no plan takes it unasked; to ask: --against "{words}"')
    for device, missing in result.against_missing_bytes.items():
        yield Text(f"what you run needs {format_bytes(round(missing))} more than {device} has free")


def _memory(result: RuntimePlanResult) -> Table:
    heads = [head for head, _ in memory_parts(result.memory_bytes, "host")]
    columns = [number_column(head) for head in (*heads, "of free")]
    table = plain_table(name_column("memory"), *columns)
    for name in result.memory_bytes:
        room = result.room_bytes.get(name)
        table.add_row(
            name,
            *(format_bytes(size) for _, size in memory_parts(result.memory_bytes, name)),
            "unknown" if room is None else format_bytes(round(room)),
        )
    return table


def _over(result: RuntimePlanResult) -> Iterator[RenderableType]:
    """Yield how many bytes of the mapped file do not stay in host memory."""
    over = sum(size for _, size in memory_parts(result.memory_bytes, "host"))
    over -= round(result.room_bytes.get("host", over))
    if over > 0:
        yield Text(
            f"{format_bytes(over)} of the weights on the host do not stay in its memory: the file "
            "is mapped, and they are read from the disk again and again"
        )


def times_as_long(objective: str, lost_fraction: float) -> str:
    """Return in words how much longer a run takes that loses this share of the speed."""
    longer = f"{1 / (1 - lost_fraction):.2f} times as long"
    # One user's other objectives all count the time of prompt and answer.
    match objective:
        case "ttft":
            return f"the first token takes {longer}"
        case "tpot":
            return f"each further token takes {longer}"
        case _:
            return f"prompt and answer together take {longer}"


def _best_possible(result: RuntimePlanResult) -> Iterator[RenderableType]:
    """Yield the speed of the best policy of any kind, if it was searched for."""
    best = result.any_policy
    if best is None or result.gain_lost_fraction is None:
        return
    yield Text(
        f"\nany policy: {best.policy} is simulated at {number_words(1 / best.tpot_s)} tokens/s, "
        f"first token after {format_duration(best.ttft_s)}"
    )
    if result.gain_lost_fraction > 0:
        yield Text(
            f"with {result.runtime}, {times_as_long(result.objective, result.gain_lost_fraction)}, "
            "by two models of cost: differences inside the range above say nothing"
        )
        return
    yield Text(
        f"{result.runtime} reaches that: nothing is lost that the two models of cost could tell"
    )
