"""A choice in a user's words: every way with its speeds, the risk, and the command of the best."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from rosin.commands.choose.document import ChooseResult
from rosin.commands.simulate.runtime_page import PART_WORDS, number_words, range_words
from rosin.report.tables import name_column, number_column, plain_table
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP


def choose_page(result: ChooseResult) -> Iterator[RenderableType]:
    """Yield the table with the best way first, its command, and the basis of the answer."""
    yield Text(
        f"{result.model} {result.quantization} on {result.machine}: {result.prompt_tokens:,} tokens of prompt, "
        f"{result.output_tokens:,} of answer\n"
    )
    names = ("decode (tokens/s)", "prompt (tokens/s)", "at risk")
    table = plain_table(name_column("way"), *(number_column(name) for name in names))
    for own in result.arms:
        risk = f"{100 * own.regret_fraction:.0f} %"
        table.add_row(own.arm, range_words(own.decode), range_words(own.prefill), risk)
    yield table
    # A best way is there: where no way is possible, the command ends before its page.
    best = result.arms[0]
    yield Text(f"\nbest, by {best.program}: {best.command}")
    plain = next((own for own in result.arms if own.program == LLAMA_CPP), best)
    if plain is not best:
        speed = range_words(plain.decode)
        yield Text(f"best by {LLAMA_CPP} alone, {speed} tokens/s: {plain.command}")
    yield Text(f"\nits decoding is limited by {PART_WORDS[best.decode.limit]}")
    yield Text(f"its speed rests most on {best.rests_on}")
    if any(own.cached_fraction for own in result.arms):
        yield Text(f"how often caches miss: {result.locality}")
    share = best.decode.coverage_fraction
    yield Text(
        f"ranges are to hold for {share:.0%} of machines; at risk is what a way loses to the then fastest "
        "at the end of the range of their difference"
    )
    yield from _drafts(result)
    yield from _left_out(result)


def _left_out(result: ChooseResult) -> Iterator[RenderableType]:
    """Yield a line for each reason, with all ways that it rules out."""
    for reason in dict.fromkeys(left.reason for left in result.left_out):
        ways = "; ".join(left.arm for left in result.left_out if left.reason == reason)
        yield Text(f"not possible: {ways}: {reason}")


def _drafts(result: ChooseResult) -> Iterator[RenderableType]:
    """Yield a table with a line for each way, and then the ways for which drafts pay.

    A line has the speeds with and without drafts. It also has the factor by which drafts multiply
    the experts that are read for each kept token.
    """
    drafted = [(own, own.drafts) for own in result.arms if own.drafts is not None]
    if not drafted:
        return
    kept = drafted[0][1].committed_tokens
    yield Text(f"\nwith drafts, {kept:.1f} tokens a step are kept; tokens/s decoded\n")
    names = ("with drafts", "without", "experts read for each")
    table = plain_table(name_column("way"), *(number_column(name) for name in names))
    for own, found in drafted:
        speeds = (found.tokens_per_s, found.plain_tokens_per_s)
        cells = (*map(number_words, speeds), f"{found.reads_factor:.2f} times")
        table.add_row(own.arm, *cells)
    yield table
    paying = [own.arm for own, found in drafted if found.pays]
    if len(paying) == len(drafted):
        yield Text("\ndrafts pay for each way")
    else:
        yield Text(f"\ndrafts pay for {'; '.join(paying) or 'no way'}")
