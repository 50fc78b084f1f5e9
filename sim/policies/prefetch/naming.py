"""Predictors of stated accuracy, and candidates in the order of their gates: what several prefetch
parts share.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.foresight import CANDIDATE, Foresight, PartOf, Predictions
from sim.step.rules.naming import Guesses, Listed, expect, list_selected

PRIORITY_SCALE = 1_000_000
"""Priorities are whole numbers: fractions are kept to a millionth."""
BLOCK_PASSES = 32
"""Passes whose numbers are drawn together: some MB for models of today."""
NO_OVERFLOW = 2.0**62
"""Limit of the one whole number that stands for a row when rows are put in order."""


def expected_tokens(
    foresight: Foresight,
    accuracy: Sequence[NDArray[np.float64]],
    generator: np.random.Generator,
    *,
    by_token: bool = False,
    names_top_k: bool = False,
) -> NDArray[np.int32]:
    """Return how many tokens a predictor expects for each expert 1, 2, … layers before its gate
    [step, pass, layer, expert]; 0: not named.

    ``accuracy`` holds for each step the probability [layer] that a selected expert is named. For
    each one missed, another is named in its place, drawn in proportion to popularity and expected
    to get one token. The first ``step`` layers have no gate that many layers before them, and
    nothing is expected of them.

    ``by_token``: in a pass of several tokens, each token is predicted by itself, and the experts
    that any of them names are named. ``names_top_k``: in such a pass, only the top_k experts of a
    layer that most tokens select count as selected (ties to the lower number).
    """
    tokens = foresight.tokens
    popularity = foresight.problem.popularity
    if names_top_k:
        tokens = _heaviest(tokens, foresight.problem.model.top_k)
    num_passes, num_layers, num_experts = tokens.shape
    is_apart = (foresight.passes.num_tokens > 1) & by_token
    selected = Listed(
        first=np.empty(num_passes * num_layers + 1, np.int64),
        experts=np.empty(np.count_nonzero(tokens) + 1, np.int64),
    )
    list_selected(tokens, selected)
    expected = np.zeros((len(accuracy), *tokens.shape), np.int32)
    part_of = foresight.part_of or PartOf(num_before=0, num_passes=num_passes, crowded=tokens[:0])
    for step, right in enumerate(accuracy, start=1):
        # Nobody looks at what would be named in passes that are apart.
        if not is_apart.all():
            guess = _Guess(selected=selected, accuracy=right, popularity=popularity, step=step)
            _expect_blocks(tokens, is_apart, guess, (generator, part_of), expected[step - 1])
        # The numbers are skipped all the same, so that later draws do not depend on it.
        _skip(generator, 2 * part_of.num_passes * (num_layers - step) * num_experts)
        if len(part_of.crowded) and by_token:
            # Drawn again for what follows: later steps begin where these draws end.
            _by_token(part_of.crowded[:, step:], right[step:], popularity[step:], generator)
        if is_apart.any():
            expected[step - 1, is_apart, step:] = _by_token(
                tokens[is_apart, step:], right[step:], popularity[step:], generator
            )
    return expected


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Guess:
    """What a predictor knows ``step`` layers before the gates, and how often it is right
    [layer].
    """

    selected: Listed
    accuracy: NDArray[np.float64]
    popularity: NDArray[np.float64]
    step: int


def _expect_blocks(
    tokens: NDArray[np.int32],
    is_apart: NDArray[np.bool_],
    guess: _Guess,
    drawn_from: tuple[np.random.Generator, PartOf],
    expected: NDArray[np.int32],
) -> None:
    """Fill ``expected`` as ``expect`` does, some passes at a time. Two numbers for each expert of a
    long run would take more memory than a processor's caches have.

    The generator stays as it is. From its state come the draws of the whole run: a chance for each
    expert of all passes, then as many weights.
    """
    generator, part_of = drawn_from
    num_passes, num_layers, num_experts = tokens.shape
    each = (num_layers - guess.step) * num_experts
    chances = _from_there(generator, part_of.num_before * each)
    weights = _from_there(generator, (part_of.num_passes + part_of.num_before) * each)
    # Where all are equally popular, powers keep the order, and they take longest.
    popular = guess.popularity[guess.step :]
    are_alike = bool((popular == popular[:, :1]).all())
    room = np.empty((2, min(BLOCK_PASSES, num_passes), num_layers - guess.step, num_experts))
    for start in range(0, num_passes, BLOCK_PASSES):
        end = min(start + BLOCK_PASSES, num_passes)
        chance, weight = room[:, : end - start]
        chances.random(out=chance)
        weights.random(out=weight)
        if not are_alike:
            weight **= 1.0 / np.maximum(popular, 1e-12)
        first = guess.selected.first[start * num_layers : end * num_layers + 1]
        guesses = Guesses(
            chance=chance,
            weight=weight.view(np.int64),
            accuracy=guess.accuracy,
            popularity=guess.popularity,
        )
        block = slice(start, end)
        listed = guess.selected._replace(first=first)
        expect(tokens[block], listed, is_apart[block], guesses, expected[block])


def _from_there(generator: np.random.Generator, count: int) -> np.random.Generator:
    """Return a copy of the generator that leaves out the next ``count`` numbers between 0 and 1."""
    found = copy.deepcopy(generator)
    _skip(found, count)
    return found


def _skip(generator: np.random.Generator, count: int) -> None:
    """Leave out that many numbers between 0 and 1."""
    if count:
        generator.bit_generator.advance(count)  # type: ignore[attr-defined]


def named(expected: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the experts that a step of ``expected_tokens`` names, as rows (pass, layer, expert),
    and the tokens of each.
    """
    places = np.flatnonzero(expected.ravel() > 0)
    return np.stack(np.unravel_index(places, expected.shape), axis=1), expected.ravel()[
        places
    ].astype(np.int64)


def _heaviest(tokens: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The tokens [pass, layer, expert] of the ``count`` experts of each layer that have most, 0
    elsewhere.
    """
    found = tokens.copy()
    is_crowded = np.count_nonzero(tokens, axis=2) > count
    rank = np.argsort(np.argsort(-tokens[is_crowded], axis=1, kind="stable"), axis=1, kind="stable")
    found[is_crowded] = np.where(rank < count, tokens[is_crowded], 0)
    return found


def _by_token(
    tokens: NDArray[np.int32],
    accuracy: NDArray[np.float64],
    popularity: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return how many tokens name each expert [pass, layer, expert]: those that select it and are
    predicted right, and those that name it by mistake.
    """
    right = np.zeros(tokens.shape, np.int64)
    index, layer, expert = np.nonzero(tokens)
    # Tokens are alike, so that their number is drawn, not each of them.
    right[index, layer, expert] = generator.binomial(tokens[index, layer, expert], accuracy[layer])
    num_wrong = (tokens - right).sum(axis=2)
    # A mistake may name an expert that another token selects: it is drawn from all of them.
    shares = popularity / np.maximum(popularity.sum(axis=1, keepdims=True), 1e-12)
    index, layer = np.nonzero(num_wrong)
    right[index, layer] += generator.multinomial(num_wrong[index, layer], shares[layer])
    return right


def gathered(rows: list[NDArray[np.int64]], shape: tuple[int, ...]) -> Predictions:
    """Return predictions made of rows (gate, priority, layer, expert), put in this order.

    The gates of all passes come first, then the starts of passes. ``shape`` begins with the numbers
    of passes and layers.
    """
    all_rows = np.concatenate([np.zeros((0, 4), np.int64), *rows])
    width = 1 + all_rows.max(axis=0, initial=0)
    assert float(np.prod(width.astype(np.float64))) < NO_OVERFLOW, (
        "rows too many and too large to be put in order"
    )
    # One whole number holds a row: one sort orders by all four columns.
    keys = np.sort(
        ((all_rows[:, 0] * width[1] + all_rows[:, 1]) * width[2] + all_rows[:, 2]) * width[3]
        + all_rows[:, 3]
    )
    place = keys // width[3]
    gate = keys // (width[1] * width[2] * width[3])
    expert = keys - place * width[3]
    row = place // width[2]
    layer = place - row * width[2]
    priority = row - gate * width[1]
    gates = np.arange(shape[0] * shape[1] + shape[0] + 1)
    candidates = np.empty(len(gate), CANDIDATE)
    candidates["priority"] = priority
    candidates["layer"] = layer
    candidates["expert"] = expert
    return Predictions(first=np.searchsorted(gate, gates).astype(np.int64), candidates=candidates)


def asking_layer(foresight: Foresight, layers: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return the last MoE layer at least ``step`` before each of ``layers``, as only MoE layers
    have gates; -1 where there is none.
    """
    # A dense layer has no gate: the last MoE layer before it is asked.
    is_moe = np.isin(np.arange(foresight.tokens.shape[1]), foresight.problem.model.moe_layers)
    latest = np.maximum.accumulate(np.where(is_moe, np.arange(len(is_moe)), -1))
    return np.where(layers >= step, latest[layers - step], -1)


def by_load(
    foresight: Foresight,
    ahead: NDArray[np.int64] | int,
    load: NDArray[np.int64],
    expert: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return priorities: fewer layers ahead first, then more tokens, then the lower expert.

    No two are equal for one layer: chunked copies of equal priority would alternate.
    """
    heaviest = int(foresight.tokens.max(initial=0))
    if foresight.part_of is not None:
        heaviest = max(heaviest, int(foresight.part_of.crowded.max(initial=0)))
    return np.asarray((ahead * (heaviest + 1) - load) * foresight.tokens.shape[2] + expert)
