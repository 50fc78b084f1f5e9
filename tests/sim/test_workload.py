"""Batches and the forward passes they become."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.workload.batch import Batch, Feeding, forward_passes


def test_a_chunk_of_nothing_is_refused() -> None:
    """Zero tokens a chunk would never end."""
    with pytest.raises(InputError, match="prefill_chunk_tokens must be at least 1, got 0"):
        Feeding(prefill_chunk_tokens=0)


def test_beams_apart_are_one_pass_each() -> None:
    """Every sequence is fed by itself, in order; from the second step on, one pass before them
    moves what the beams share.
    """
    passes = forward_passes(
        Batch(prompt_tokens=2, output_tokens=3, beams=3), Feeding(decodes_beams_apart=True)
    )
    assert passes.step.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert passes.first_sequence.tolist() == [0, 0, 1, 2, 0, 0, 1, 2]
    assert passes.first_position.tolist() == [0, 2, 2, 2, 2, 3, 3, 3]
    assert passes.num_tokens.tolist() == [2, 1, 1, 1, 1, 1, 1, 1]


def test_beams_that_part_early_are_fed_again() -> None:
    """With a lag of three tokens a beam feeds its last three, as soon as it has as many; then what
    is shared moves by one.
    """
    passes = forward_passes(
        Batch(prompt_tokens=2, output_tokens=6, beams=2),
        Feeding(decodes_beams_apart=True, beam_lag_tokens=3),
    )
    assert passes.num_tokens.tolist() == [2, 1, 1, 2, 2, 3, 3, 1, 3, 3, 1, 3, 3]
    assert passes.context_tokens.tolist() == [2, 3, 3, 4, 4, 5, 5, 3, 6, 6, 4, 7, 7]


@given(
    prompt=st.integers(1, 300),
    output=st.integers(1, 6),
    size=st.integers(1, 4),
    beams=st.integers(1, 4),
    chunk=st.none() | st.integers(1, 100),
    replicates=st.booleans(),
    apart=st.booleans(),
)
def test_every_token_is_fed_once(
    prompt: int,
    output: int,
    size: int,
    beams: int,
    chunk: int | None,
    replicates: bool,
    apart: bool,
) -> None:
    """Prompt and answer positions of every sequence are covered without gap or repetition, in
    chunks no larger than asked.
    """
    batch = Batch(prompt_tokens=prompt, output_tokens=output, batch_size=size, beams=beams)
    feeding = Feeding(
        prefill_chunk_tokens=chunk, replicates_prompt=replicates, decodes_beams_apart=apart
    )
    passes = forward_passes(batch, feeding)
    fed = np.zeros((batch.num_sequences, batch.context_tokens), int)
    for index in range(len(passes)):
        first, positions = (
            passes.first_sequence[index],
            slice(passes.first_position[index], passes.context_tokens[index]),
        )
        fed[first : first + passes.num_sequences[index], positions] += 1
        assert passes.num_tokens[index] == passes.num_sequences[index] * (
            positions.stop - positions.start
        )
    prompts = batch.num_sequences if replicates else size
    assert (fed[:prompts, :prompt] == 1).all() and (fed[prompts:, :prompt] == 0).all()
    assert (fed[:, -1] == 0).all()  # the last token is output, never input
    is_searched = (
        apart and beams > 1
    )  # then what the beams of a prompt share moves by one token a step
    assert (fed[size if is_searched else 0 :, prompt:-1] == 1).all()
    if is_searched:
        assert (fed[:size, prompt:-2] == 2).all() and (fed[:size, -2:-1] <= 1).all()
    if chunk is not None:
        assert passes.num_tokens[passes.is_prefill].max() <= max(chunk, prompts)


BATCHES = st.builds(
    Batch,
    prompt_tokens=st.integers(1, 40),
    output_tokens=st.integers(1, 8),
    batch_size=st.integers(1, 4),
    beams=st.integers(1, 4),
)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("prompt_tokens", "output_tokens", "batch_size", "beams"), st.integers(-2, 3))
    )
)
def test_a_batch_of_nothing_is_refused(counts: dict[str, int]) -> None:
    """The message is one line that names the first field at fault; any other batch is taken."""
    wrong = [name for name, count in counts.items() if count < 1]
    if not wrong:
        batch = Batch(**counts)
        assert batch.num_sequences == counts["batch_size"] * counts["beams"]
        return
    with pytest.raises(InputError) as caught:
        Batch(**counts)
    assert str(caught.value) in [
        f"`{name}` must be at least 1, got {counts[name]}" for name in wrong
    ]


@given(BATCHES)
def test_passes_are_the_prompt_and_a_step_for_each_further_token(batch: Batch) -> None:
    """The first output token comes from the prefill; then each sequence feeds one token a step, one
    position later each.
    """
    passes = forward_passes(batch, Feeding())
    steps = np.arange(batch.output_tokens)
    assert passes.step.tolist() == steps.tolist()
    assert passes.is_prefill.tolist() == (steps == 0).tolist()
    assert (
        passes.num_sequences.tolist()
        == np.where(steps == 0, batch.batch_size, batch.num_sequences).tolist()
    )
    assert (
        passes.num_tokens.tolist()
        == np.where(
            steps == 0, batch.batch_size * batch.prompt_tokens, batch.num_sequences
        ).tolist()
    )
    assert passes.context_tokens.tolist() == (batch.prompt_tokens + steps).tolist()
    assert (passes.context_tokens - passes.first_position).tolist() == [
        batch.prompt_tokens,
        *[1] * (batch.output_tokens - 1),
    ]


@given(BATCHES)
def test_a_replicated_prompt_is_fed_once_per_beam(batch: Batch) -> None:
    """Fiddler's way: 2 prompts x 3 beams x 4 tokens."""
    passes = forward_passes(batch, Feeding(replicates_prompt=True))
    assert passes.num_tokens[0] == batch.num_sequences * batch.prompt_tokens
    assert set(passes.num_sequences.tolist()) == {batch.num_sequences}


@given(BATCHES, st.integers(1, 6))
def test_one_beam_is_fed_as_any_sequence(batch: Batch, lag: int) -> None:
    """Without a search nothing is fed twice, whatever the lag."""
    alone = replace(batch, batch_size=1, beams=1)
    apart = Feeding(decodes_beams_apart=True, beam_lag_tokens=lag)
    assert forward_passes(alone, apart).contents == forward_passes(alone, Feeding()).contents
