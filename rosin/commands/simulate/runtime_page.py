"""A prediction of a runtime in a user's words."""

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes
from planner.choice import SpeedInterval
from rosin.commands.simulate.runtime_document import RuntimeResult, SpeedRange
from rosin.report.tables import name_column, number_column, plain_table
from sim.runtimes.memory import DeviceMemory

PART_WORDS = {
    "cpu_experts": "experts on the CPU",
    "cpu_dense": "the rest of the layers on the CPU",
    "cpu_attention": "attention on the CPU",
    "gpu_weights": "weights on the GPU",
    "gpu_attention": "attention on the GPU",
    "upload": "copying weights to the GPU",
    "crossings": "passing work between devices",
    "disk": "reading weights from the disk",
}
WHOLE_FROM = 100


def runtime_page(result: RuntimeResult) -> Iterator[RenderableType]:
    """Yield both speeds, their limits and their basis, and the memory."""
    both = result.runtime_prediction
    yield Text(f"{result.model} {result.quantization} with {result.runtime} on {result.machine}")
    yield Text(f"decode   {speed_words(both.decode)} after {result.context_tokens:,} tokens")
    yield Text(
        f"prefill  {speed_words(both.prefill)} for a prompt of {result.prompt_tokens:,} tokens"
    )
    yield Text("")
    yield Text(f"decode is limited by {limit_words(both.decode)}")
    yield Text(f"prefill is limited by {limit_words(both.prefill)}")
    yield Text(f"what decode rests on most: {_assumption(both.decode)}")
    yield Text(f"what prefill rests on most: {_assumption(both.prefill)}")
    yield Text(f"it all rests on {result.rests_on};")
    yield Text(f"{coverage_words(both.decode)}\n")
    yield _memory(result)


def coverage_words(speed: SpeedRange) -> str:
    """Return in words how often the ranges hold."""
    if speed.coverage_fraction is None:
        return "ranges are as wide as llama.cpp's: no published speeds of this program were fitted"
    if speed.is_by_measured_kernels:
        return f"ranges hold for {speed.coverage_fraction:.0%} of the shapes left out of the measurement"
    return (
        f"ranges hold for {speed.coverage_fraction:.0%} of the rows of a published machine left out"
    )


def speed_words(speed: SpeedRange) -> str:
    """A speed with its range: ``34 tokens/s (28–41)``."""
    return range_words(speed, " tokens/s")


def range_words(speed: SpeedRange | SpeedInterval, unit: str = "") -> str:
    """Return a speed and its range with ``unit`` between them: ``34 (28–41)``."""
    ends = f"{number_words(speed.low_tokens_per_s)}–{number_words(speed.high_tokens_per_s)}"
    return f"{number_words(speed.tokens_per_s)}{unit} ({ends})"


def number_words(value: float) -> str:
    """Return a number with at least two significant digits."""
    if value >= WHOLE_FROM:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def limit_words(speed: SpeedRange) -> str:
    """Return in words the part that takes most of the time, with its share."""
    share = speed.seconds[speed.limit] / sum(speed.seconds.values())
    return f"{PART_WORDS[speed.limit]} ({share:.0%} of the time)"


def _assumption(speed: SpeedRange) -> str:
    change = speed.assumption_change_fraction
    return f"{speed.assumption} (one spread higher: {change:+.0%})"


def memory_parts(memory: Mapping[str, DeviceMemory], device: str) -> list[tuple[str, int]]:
    """Return the items that a device holds, each with its bytes.

    An expert cache is listed if any device has one.
    """
    own = memory[device]
    has_cache = any(each.expert_cache for each in memory.values())
    cache = [("expert cache", own.expert_cache)] if has_cache else []
    return [("weights", own.weights), *cache, ("KV cache", own.kv), ("buffers", own.compute)]


def _memory(result: RuntimeResult) -> Table:
    columns = [number_column(head) for head, _ in memory_parts(result.memory_bytes, "host")]
    table = plain_table(name_column("memory"), *columns)
    for name in result.memory_bytes:
        parts = memory_parts(result.memory_bytes, name)
        table.add_row(name, *(format_bytes(size) for _, size in parts))
    return table
