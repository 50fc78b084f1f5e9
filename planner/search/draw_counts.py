"""How many draws of the routing a search is made over."""

from math import sqrt

from sim.step.draws import has_draws
from sim.step.simulate import Question

DRAWN_TOKENS, MOST_DRAWS = 8192, 32
"""Draws are as many as have that many tokens together, within limits: the more tokens, the less a
placement owes to chance.
"""

FEWEST_DRAWS = 4
"""Draws of the first round; where nobody says how many draws there are, no fewer."""

FIRST_TOKENS = 256
"""Runs of fewer tokens are met on more than one draw from the start."""

CLOSE, LEAST_CLOSE = 0.05, 0.01
"""After the first draw, whole runs that are more than 5 % slower than the best are dropped. That is
for runs of ``FIRST_TOKENS``: chance shrinks with the square root of the tokens, down to 1 %.
"""


def default_draws(question: Question) -> int:
    """How many draws a plan is averaged over, where nobody says."""
    batch = question.batch
    tokens = batch.num_sequences * batch.context_tokens
    return (
        max(FEWEST_DRAWS, min(MOST_DRAWS, -(-DRAWN_TOKENS // tokens))) if has_draws(question) else 1
    )


def first_draws(question: Question, num_draws: int) -> int:
    """Draws that every whole run is made on: one, where it has tokens enough not to owe its time to
    chance.
    """
    tokens = question.batch.num_sequences * question.batch.context_tokens
    return min(num_draws, max(1, min(FEWEST_DRAWS, FIRST_TOKENS // tokens)))


def close_fraction(question: Question) -> float:
    """By which fraction a whole run may be slower than the best on one draw, and not on all."""
    tokens = question.batch.num_sequences * question.batch.context_tokens
    return max(LEAST_CLOSE, CLOSE * min(1.0, sqrt(FIRST_TOKENS / tokens)))
