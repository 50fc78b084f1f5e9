"""Refining llama.cpp's best option: boundaries between GPUs, and when experts are copied for a
prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.runtimes.asked import Asked
from planner.runtimes.llama_fill import filled
from planner.runtimes.llama_layout import arguments_of, homes_of, placement_in
from planner.runtimes.option import Option, timing_of
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.prompts import MIN_TOKENS
from sim.runtimes.question import PromptSide

BOUNDARY_STEPS = (8, 4, 2, 1)
"""Layers by which the boundary between two GPUs is moved, from coarse to fine."""

WORTH_A_VARIABLE = 0.99
"""A threshold is stated only if it brings the score to less than this share of the score without
it.
"""


def refined(asked: Asked, best: Option) -> Option:
    """Return the option with the boundaries between GPUs and the copying threshold tuned."""
    tuned = _with_boundaries(asked, best) if len(asked.host.gpus) > 1 else best
    return _with_threshold(asked, tuned)


def _with_boundaries(asked: Asked, best: Option) -> Option:
    """Move layers between neighbouring GPUs as long as that makes the round shorter."""
    arguments = best.arguments
    assert isinstance(arguments, LlamaArguments)
    split = tuple(map(int, arguments.tensor_split))
    # From coarse to fine: a long way takes few tries, and the end is exact.
    for step in BOUNDARY_STEPS:
        is_better = True
        while is_better:
            is_better = False
            for moved in _moved(split, step):
                option = _of_split(asked, arguments, moved)
                if option is None or asked.rank(option.timing) >= asked.rank(best.timing):
                    continue
                best = option
                split = moved
                is_better = True
    return best


def _moved(split: Sequence[int], step: int) -> Iterator[tuple[int, ...]]:
    """Yield the splits that differ by that many layers between two neighbours."""
    for first in range(len(split) - 1):
        for change in (step, -step):
            moved = list(split)
            moved[first] += change
            moved[first + 1] -= change
            if min(moved) >= 0:
                yield tuple(moved)


def _of_split(asked: Asked, arguments: LlamaArguments, split: tuple[int, ...]) -> Option | None:
    """Return the option of a split, all else as in the arguments; None where it does not fit."""
    layout = filled(asked, arguments, homes_of(asked, split))
    if layout is None:
        return None
    option = asked.option(arguments_of(asked, arguments, layout), placement_in(asked, layout))
    return option if asked.fits(option) else None


def _with_threshold(asked: Asked, best: Option) -> Option:
    """Return the option with the number of tokens from which on copying experts is faster.

    Only llama.cpp reads it (GGML_OP_OFFLOAD_MIN_BATCH); ik_llama.cpp's own rule stays.
    """
    arguments = best.arguments
    assert isinstance(arguments, LlamaArguments)
    is_copying = arguments.is_op_offload and best.placement.weight_bytes[0] > 0
    if arguments.is_ik or not is_copying or not asked.host.gpus:
        return best
    tokens = _break_even_tokens(asked, best, arguments.micro_batch_tokens)
    # The runtime copies from there on by itself.
    if tokens <= MIN_TOKENS:
        return best
    option = asked.option(replace(arguments, offload_min_tokens=tokens), best.placement)
    now = asked.rank(best.timing)
    then = asked.rank(option.timing)
    is_worth_it = then[0] < now[0] or then[1] < WORTH_A_VARIABLE * now[1]
    return option if is_worth_it else best


def _break_even_tokens(asked: Asked, best: Option, most: int) -> int:
    """Return the fewest tokens of a micro-batch that copies make faster; ``most`` if none are."""
    low = MIN_TOKENS
    high = most
    while low < high:
        middle = (low + high) // 2
        if _seconds(asked, best, middle, PromptSide.UPLOAD) <= _seconds(
            asked, best, middle, PromptSide.CPU
        ):
            high = middle
        else:
            low = middle + 1
    return low


def _seconds(asked: Asked, best: Option, tokens: int, side: PromptSide) -> float:
    question = replace(best.question, prompt_tokens=tokens, prompt_side=side)
    return timing_of(question, best.placement, asked.load).ttft_s
