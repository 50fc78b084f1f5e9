"""Batches and the forward passes they become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.workload.batch import Batch, Feeding, forward_passes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt_tokens": 0}, "`prompt_tokens` must be at least 1, got 0"),
        ({"output_tokens": 0}, "`output_tokens` must be at least 1, got 0"),
        ({"batch_size": -1}, "`batch_size` must be at least 1, got -1"),
        ({"beams": 0}, "`beams` must be at least 1, got 0"),
    ],
)
def test_a_batch_of_nothing_is_refused(wrong: dict[str, int], message: str) -> None:
    """The message is one line that names the field."""
    with pytest.raises(InputError) as caught:
        Batch(**({"prompt_tokens": 1, "output_tokens": 1} | wrong))
    assert str(caught.value) == message


def test_a_chunk_of_nothing_is_refused() -> None:
    """Zero tokens a chunk would never end."""
    with pytest.raises(InputError, match="prefill_chunk_tokens must be at least 1, got 0"):
        Feeding(prefill_chunk_tokens=0)


def test_one_output_token_is_the_prefill_alone() -> None:
    """The first output token comes from the prefill."""
    passes = forward_passes(Batch(prompt_tokens=7, output_tokens=1), Feeding())
    assert (
        passes.num_tokens.tolist() == [7]
        and passes.is_prefill.all()
        and passes.context_tokens.tolist() == [7]
    )


def test_passes_of_beams_by_hand() -> None:
    """Two prompts of three tokens with two beams: the prefill feeds 6 tokens, each decode step 4,
    one position later each.
    """
    passes = forward_passes(
        Batch(prompt_tokens=3, output_tokens=3, batch_size=2, beams=2), Feeding()
    )
    assert passes.step.tolist() == [0, 1, 2]
    assert passes.num_tokens.tolist() == [6, 4, 4]
    assert passes.num_sequences.tolist() == [2, 4, 4]
    assert passes.first_position.tolist() == [0, 3, 4]
    assert passes.context_tokens.tolist() == [3, 4, 5]
    assert passes.is_prefill.tolist() == [True, False, False]


def test_a_replicated_prompt_is_fed_once_per_beam() -> None:
    """Fiddler's way: 2 prompts x 3 beams x 4 tokens."""
    passes = forward_passes(
        Batch(prompt_tokens=4, output_tokens=1, batch_size=2, beams=3),
        Feeding(replicates_prompt=True),
    )
    assert passes.num_tokens.tolist() == [24] and passes.num_sequences.tolist() == [6]


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


def test_one_beam_is_fed_as_any_sequence() -> None:
    """Without a search nothing is fed twice, whatever the lag."""
    apart = Feeding(decodes_beams_apart=True, beam_lag_tokens=4)
    batch = Batch(prompt_tokens=2, output_tokens=5)
    assert forward_passes(batch, apart).contents == forward_passes(batch, Feeding()).contents


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
