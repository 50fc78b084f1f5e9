"""Load or compute: Mooncake's least rate, and the prefix from which loading is faster on a B200."""

from dataclasses import dataclass, replace

from hwprofiles import load_machine
from hwprofiles.units import BITS_PER_BYTE, GIGA
from sim.model.library import load_model
from sim.serving.kv import Compute, crossover_tokens, least_bytes_per_s, mooncake_bytes_per_s
from validation.published.lmcache.rows import rows
from validation.published.published_row import PublishedRow, cell_of
from validation.published.reproduction import Cell, Table

REUSE_MODEL = "llama-3-70b"
RATES_GBIT = (32, 64, 128)
SETUPS = (
    ("llama-3.1-8b", "bf16"),
    ("llama-3.1-8b", "fp8"),
    ("llama-3.3-70b", "bf16"),
    ("llama-3.3-70b", "fp8"),
    ("qwen2.5-72b", "fp8"),
)
"""Models and types of their arithmetic to try: the sources at hand say neither."""

PUBLISHED_TOKENS = 262_144
"""Tokens from which loading is faster at 32 Gbit/s, according to LMCache."""

CHUNK_TOKENS = 256
"""Tokens of LMCache's first chunk; a crossover within it counts as always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """Tokens from which loading a prefix is faster, at each of the rates; None if it never is.

    ``attention_ratio`` is the time of attention over that of the weights, for a prefix of
    PUBLISHED_TOKENS. The paper says that loading is faster from there on at 32 Gbit/s, and always
    at 64. Both together need a ratio of at most 1, whatever the rate of computation and the bytes
    of a token. At 32 Gbit/s a token takes twice as long as at 64, so attention may at most double
    the time of the weights.
    """

    model: str
    dtype: str
    tokens: dict[int, int | None]
    attention_ratio: float

    @property
    def is_in_the_papers_order(self) -> bool:
        """Whether loading is always faster at 64 and 128 Gbit/s, and only for longer prompts
        at 32.
        """
        slow, *others = (self.tokens[rate] for rate in RATES_GBIT)
        return (
            slow is not None
            and slow > CHUNK_TOKENS
            and all(each is not None and each <= CHUNK_TOKENS for each in others)
        )


def reuse_table() -> Table:
    """Return Mooncake's criterion, and the least rate for the model's own layers beside."""
    return Table(
        name="reuse",
        title="Mooncake's criterion: the least rate at which loading pays",
        assumptions="Compute at the peak of the datasheets, as the paper takes it; `own layers` counts the model's weights and causal "
        "attention instead of a = 4 and b = 22.",
        cells=tuple(_reuse_cell(row) for row in rows("reuse")),
    )


def crossover_table(found: tuple[Crossover, ...]) -> Table:
    """Return the one published figure, beside the simulated one of several models."""
    (row,) = rows("crossover")
    return Table(
        name="crossover",
        title="Load or compute on a B200: prefix from which loading at 32 Gbit/s wins",
        assumptions="The sources at hand name neither model nor arithmetic: each of several is tried. Compute at 0.7 of the datasheet's "
        "peak (assumed, docs/reference/machines.md), KV in 16 bit, no fixed costs on either side.",
        cells=tuple(
            _crossover_cell(row, each) for each in found if each.tokens[RATES_GBIT[0]] is not None
        ),
    )


def crossovers() -> tuple[Crossover, ...]:
    """Return the simulated crossovers of every set-up."""
    return tuple(_crossover(model, dtype) for model, dtype in SETUPS)


def _reuse_cell(row: PublishedRow) -> Cell:
    model = load_model(REUSE_MODEL)
    compute = Compute.of(load_machine(row.environment), is_peak=True)
    assert row.input_tokens is not None
    own = {"own layers": least_bytes_per_s(model, row.input_tokens, compute) / GIGA}
    return cell_of(
        row, mooncake_bytes_per_s(model, row.input_tokens, compute) / GIGA, comparisons=own
    )


def _crossover_cell(row: PublishedRow, found: Crossover) -> Cell:
    first, *others = RATES_GBIT
    comparisons = {f"at {rate} Gbit/s": float(found.tokens[rate] or 0) for rate in others}
    named = replace(row, system=f"{first} Gbit/s, {found.model} in {found.dtype}")
    return cell_of(named, float(found.tokens[first] or 0), comparisons=comparisons)


def _crossover(model: str, dtype: str) -> Crossover:
    compute = Compute.of(load_machine("b200"), dtype)
    rates = {rate: rate * GIGA / BITS_PER_BYTE for rate in RATES_GBIT}
    tokens = {
        rate: crossover_tokens(load_model(model), compute, bytes_per_s)
        for rate, bytes_per_s in rates.items()
    }
    # One token attends to nothing but itself, so its time is that of the weights.
    of_weights_ns = PUBLISHED_TOKENS * compute.prefill_ns(load_model(model), 1)
    total_ns = compute.prefill_ns(load_model(model), PUBLISHED_TOKENS)
    return Crossover(
        model=model, dtype=dtype, tokens=tokens, attention_ratio=total_ns / of_weights_ns - 1.0
    )
