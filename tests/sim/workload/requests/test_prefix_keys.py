"""Keys of prefixes name exactly the tokens before them."""

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from sim.workload.requests import Span, prefix_keys

prompts = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=6)


def spans(pairs: list[tuple[int, int]]) -> tuple[Span, ...]:
    """Spans of (content, tokens) pairs."""
    return tuple(Span(content=content, num_tokens=tokens) for content, tokens in pairs)


def tokens(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every token of a prompt, spelt out as (content, offset)."""
    return [(content, offset) for content, length in pairs for offset in range(length)]


@given(prompts, prompts, st.integers(1, 7))
def test_keys_are_shared_exactly_by_equal_prefixes(
    left: list[tuple[int, int]], right: list[tuple[int, int]], block: int
) -> None:
    """Two prompts share key i if and only if their first (i + 1)·block tokens are equal."""
    left_keys, right_keys = prefix_keys(spans(left), block), prefix_keys(spans(right), block)
    assert len(left_keys) == len(tokens(left)) // block
    for index, (mine, theirs) in enumerate(zip(left_keys, right_keys, strict=False)):
        end = (index + 1) * block
        assert (mine == theirs) == (tokens(left)[:end] == tokens(right)[:end])


@given(prompts, st.integers(1, 7))
def test_keys_of_one_prompt_are_distinct(pairs: list[tuple[int, int]], block: int) -> None:
    """Every prefix of a prompt has a name of its own."""
    keys = prefix_keys(spans(pairs), block)
    assert len(set(keys)) == len(keys)


def test_keys_do_not_depend_on_the_process() -> None:
    """The same prompt has the same keys under another hash seed."""
    prompt = "(Span(content=7, num_tokens=20), Span(content=9, num_tokens=3))"
    code = f"from sim.workload.requests import Span, prefix_keys; print(prefix_keys({prompt}, 4))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    other = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert other.strip() == str(prefix_keys(spans([(7, 20), (9, 3)]), 4))
