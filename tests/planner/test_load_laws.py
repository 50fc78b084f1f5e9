"""Laws of a chat's load: tokens that lie in the cache, and room for them in whole blocks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.runtimes.load import KV_BLOCK_TOKENS, RuntimeLoad, with_room
from sim.runtimes.asking import READERS, read_runtime_arguments

TOKENS = st.integers(1, 5000)


@given(TOKENS, TOKENS, st.integers(1, 200))
@settings(max_examples=100)
def test_contexts_are_means_over_the_rounds(prompt: int, output: int, rounds: int) -> None:
    """Each round finds what all before it left, a token of an answer half of its own answer too."""
    load = RuntimeLoad(prompt_tokens=prompt, output_tokens=output, rounds=rounds)
    before = [number * (prompt + output) for number in range(rounds)]
    assert load.prompt_context_tokens == sum(before) // rounds
    decoded = sum(each + prompt + output / 2 for each in before) / rounds
    assert abs(load.decode_context_tokens - decoded) <= 1
    assert load.prompt_context_tokens < load.decode_context_tokens or output < 2


@given(TOKENS, TOKENS, st.integers(1, 50), st.none() | st.integers(1, 10**6))
@settings(max_examples=100)
def test_room_holds_the_chat_and_what_is_asked(
    prompt: int, output: int, rounds: int, room: int | None
) -> None:
    """In whole blocks, less than one more than needed; arguments that state room keep it."""
    load = RuntimeLoad(prompt_tokens=prompt, output_tokens=output, rounds=rounds, room_tokens=room)
    needed = max(rounds * (prompt + output), room or 0)
    assert needed <= load.cache_tokens < needed + KV_BLOCK_TOKENS
    assert load.cache_tokens % KV_BLOCK_TOKENS == 0
    for runtime in READERS:
        if runtime == "accelerate":
            continue
        found = with_room(read_runtime_arguments(runtime, ""), load)
        assert found.context_tokens == load.cache_tokens
        assert with_room(found, RuntimeLoad(prompt_tokens=1, output_tokens=1)) == found
