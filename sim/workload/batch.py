"""What is asked of a model: a single-user batch, and the forward passes it becomes."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.errors import shortened
from hwprofiles.limits import MAX_SEQUENCES, MAX_TOKENS
from hwprofiles.ranges import check_at_least

T = TypeVar("T", bound=np.generic)

LIMITS = {
    "prompt_tokens": MAX_TOKENS,
    "output_tokens": MAX_TOKENS,
    "batch_size": MAX_SEQUENCES,
    "beams": MAX_SEQUENCES,
}
MAX_PASS_TOKENS = 2**31 - 1
"""The most tokens of one forward pass: they are counted in 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``batch_size`` prompts that start together, each of ``prompt_tokens``, each answered by
    ``output_tokens``.

    With ``beams`` > 1 each answer is searched with that many hypotheses: a decode step feeds
    batch_size · beams tokens. The first output token comes from the prefill, so there are
    output_tokens − 1 decode steps.
    """

    prompt_tokens: int
    output_tokens: int
    batch_size: int = 1
    beams: int = 1

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "batch_size", "beams"):
            value = getattr(self, name)
            if not 1 <= value <= LIMITS[name]:
                limit = "at least 1" if value < 1 else f"at most {LIMITS[name]:,}"
                raise InputError(f"`{name}` must be {limit}, got {shortened(str(value))}")
        if self.num_sequences * self.prompt_tokens > MAX_PASS_TOKENS:
            total = f"`batch_size`, `beams` and `prompt_tokens` ask for {self.num_sequences * self.prompt_tokens:,} tokens at once"
            raise InputError(f"{total}, at most {MAX_PASS_TOKENS:,} are simulated")

    @property
    def num_sequences(self) -> int:
        """Sequences decoded at once, hypotheses included."""
        return self.batch_size * self.beams

    @property
    def context_tokens(self) -> int:
        """Length of a sequence at its end."""
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """How a system feeds a batch to the model.

    ``prefill_chunk_tokens`` bounds the tokens of one prefill pass, but each prompt gets at least
    one (None: all at once). ``replicates_prompt`` runs the prompt once per beam.
    ``decodes_beams_apart`` runs one pass for each sequence of a decode step. There, a beam feeds
    again its last ``beam_lag_tokens``, all those that the beams do not share. One more pass for
    each prompt moves the end of what they share.

    ``micro_batch_sequences`` and ``prefill_micro_batch_sequences`` are the sequences of a
    micro-batch in decode steps and in prompts. Where either is set, micro-batches go through every
    layer one after another, and a layer's weights serve them all.
    """

    prefill_chunk_tokens: int | None = None
    replicates_prompt: bool = False
    decodes_beams_apart: bool = False
    beam_lag_tokens: int = 1
    micro_batch_sequences: int | None = None
    prefill_micro_batch_sequences: int | None = None

    def __post_init__(self) -> None:
        check_at_least(self, prefill_chunk_tokens=1, beam_lag_tokens=1)
        check_at_least(self, micro_batch_sequences=1, prefill_micro_batch_sequences=1)
        if self.is_pipelined and (
            self.prefill_chunk_tokens is not None or self.decodes_beams_apart
        ):
            raise InputError(
                "micro-batches of sequences go with neither prefill_chunk_tokens nor decodes_beams_apart"
            )

    @property
    def is_pipelined(self) -> bool:
        """Whether micro-batches go through the layers together."""
        return (
            self.micro_batch_sequences is not None or self.prefill_micro_batch_sequences is not None
        )


@dataclass(frozen=True, kw_only=True)
class Passes:
    """P forward passes in order, one column a field (int32 or bool, length P).

    ``step`` is the output token that a pass works towards (0: prefill). A pass feeds ``num_tokens``
    tokens of ``num_sequences`` sequences, numbered from ``first_sequence``. Each sequence's tokens
    are its positions ``first_position`` up to ``context_tokens`` (exclusive). Passes of the same
    ``group`` are micro-batches that go layer by layer together. Groups are numbered in order, and
    each ends in one vocabulary projection.
    """

    step: NDArray[np.int32]
    num_tokens: NDArray[np.int32]
    num_sequences: NDArray[np.int32]
    first_sequence: NDArray[np.int32]
    first_position: NDArray[np.int32]
    context_tokens: NDArray[np.int32]
    group: NDArray[np.int32]
    is_prefill: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.step)

    @cached_property
    def contents(self) -> tuple[bytes, ...]:
        """The bytes of all columns: equal for equal passes. What depends on nothing else may be
        kept by them.
        """
        return tuple(getattr(self, field.name).tobytes() for field in fields(self))


def passes_between(passes: Passes, first: int, end: int) -> Passes:
    """Return the passes from number ``first`` up to ``end`` (exclusive)."""
    columns = {item.name: getattr(passes, item.name)[first:end] for item in fields(Passes)}
    return replace(passes, **columns)


def forward_passes(batch: Batch, feeding: Feeding) -> Passes:
    """Return the passes of a batch under that feeding: prefill chunks first, then one (or one for
    each sequence) for each later token.
    """
    if feeding.is_pipelined:
        return _micro_batches(batch, feeding)
    prefill_sequences = batch.num_sequences if feeding.replicates_prompt else batch.batch_size
    per_sequence = batch.prompt_tokens
    if feeding.prefill_chunk_tokens is not None:
        # A chunk is shared out evenly over the prompts; each gets a token at least, however many
        # they are.
        per_sequence = max(1, feeding.prefill_chunk_tokens // prefill_sequences)
    rows = []
    for start in range(0, batch.prompt_tokens, per_sequence):
        end = min(start + per_sequence, batch.prompt_tokens)
        rows.append((0, (end - start) * prefill_sequences, prefill_sequences, 0, start, end, True))
    sequences = batch.num_sequences
    # The first output token comes from the prefill.
    for step in range(1, batch.output_tokens):
        position = batch.prompt_tokens + step - 1
        if feeding.decodes_beams_apart:
            rows.extend(_beams_apart(batch, step, feeding.beam_lag_tokens))
        else:
            rows.append((step, sequences, sequences, 0, position, position + 1, False))
    return _passes(rows, np.arange(len(rows), dtype=np.int32))


def _beams_apart(
    batch: Batch, step: int, lag: int
) -> list[tuple[int, int, int, int, int, int, bool]]:
    """Return the rows of a decode step that feeds every sequence by itself (llama.cpp b2956,
    llama_beam_search).
    """
    end = batch.prompt_tokens + step
    # Beams share the prompt, so no beam feeds any of it again.
    start = max(batch.prompt_tokens, end - lag) if batch.beams > 1 else end - 1
    is_moved = batch.beams > 1 and start > batch.prompt_tokens
    # The tokens that all beams have come to share leave their own contexts: one pass puts the last
    # of them behind the prompt.
    moving = range(batch.batch_size if is_moved else 0)

    rows = [(step, 1, 1, prompt, start - 1, start, False) for prompt in moving]
    rows += [
        (step, end - start, 1, sequence, start, end, False)
        for sequence in range(batch.num_sequences)
    ]
    return rows


def _micro_batches(batch: Batch, feeding: Feeding) -> Passes:
    """The passes of whole prompts and decode steps, cut into micro-batches of sequences; the last of
    each may be smaller.
    """
    total = batch.num_sequences if feeding.replicates_prompt else batch.batch_size
    most = micro_batches(batch, feeding)[0]
    rows = []
    for first in range(0, total, most):
        count = min(most, total - first)
        rows.append((0, count * batch.prompt_tokens, count, first, 0, batch.prompt_tokens, True))
    total = batch.num_sequences
    most = micro_batches(batch, feeding)[1]
    for step in range(1, batch.output_tokens):
        position = batch.prompt_tokens + step - 1
        for first in range(0, total, most):
            count = min(most, total - first)
            rows.append((step, count, count, first, position, position + 1, False))
    # Micro-batches of one step are a group: they go through each layer one after another.
    return _passes(rows, np.array([row[0] for row in rows], np.int32))


def micro_batches(batch: Batch, feeding: Feeding) -> tuple[int, int]:
    """Return how many sequences the largest micro-batch of a prompt has, and that of a decode step;
    a size that is not set means all.
    """
    prompts = batch.num_sequences if feeding.replicates_prompt else batch.batch_size
    sizes = (
        feeding.prefill_micro_batch_sequences or prompts,
        feeding.micro_batch_sequences or batch.num_sequences,
    )
    return min(sizes[0], prompts), min(sizes[1], batch.num_sequences)


def _passes(
    rows: list[tuple[int, int, int, int, int, int, bool]], group: NDArray[np.int32]
) -> Passes:
    table = np.array(rows, dtype=np.int32).T
    names = (
        "step",
        "num_tokens",
        "num_sequences",
        "first_sequence",
        "first_position",
        "context_tokens",
    )
    columns = {
        name: np.ascontiguousarray(column) for name, column in zip(names, table, strict=False)
    }
    return Passes(is_prefill=table[6].astype(bool), group=group, **columns)


def with_shared_prompts(rows: NDArray[T], batch: Batch) -> NDArray[T]:
    """Return rows [sequence, token, …] in which all hypotheses of a prompt share the rows of its
    tokens. A hypothesis belongs to the prompt of its number modulo the batch size.
    """
    if batch.beams == 1:
        return rows
    # Hypotheses are numbered beam by beam, so that the first of all prompts come first.
    prompts = rows[np.arange(batch.num_sequences) % batch.batch_size, : batch.prompt_tokens]
    return np.concatenate([prompts, rows[:, batch.prompt_tokens :]], axis=1)
