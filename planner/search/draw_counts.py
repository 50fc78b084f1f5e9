"""How many draws of the routing a search uses."""

from math import sqrt

from sim.step.draws import has_draws
from sim.step.simulate import Question

DRAWN_TOKENS, MOST_DRAWS = 8192, 32
"""A plan's draws have that many tokens together, within limits: there are at most MOST_DRAWS.

The more tokens, the less a placement owes to chance.
"""

FEWEST_DRAWS = 4
"""Draws of the first round, and the fewest where nobody says how many draws there are."""

FIRST_TOKENS = 256
"""The most tokens of a policy's first runs together, where one run has fewer.

Runs of at most half as many tokens are thus made on several draws from the start.
"""

CLOSE, LEAST_CLOSE = 0.05, 0.01
"""After the first draws, whole runs that are more than 5 % slower than the best are dropped.

This limit is for runs of ``FIRST_TOKENS`` or fewer. For longer runs, the limit shrinks with the
square root of the tokens, down to 1 %.
"""


def default_draws(question: Question) -> int:
    """How many draws a plan is averaged over, where nobody says."""
    batch = question.batch
    tokens = batch.num_sequences * batch.context_tokens
    return (
        max(FEWEST_DRAWS, min(MOST_DRAWS, -(-DRAWN_TOKENS // tokens))) if has_draws(question) else 1
    )


def first_draws(question: Question, num_draws: int) -> int:
    """Return how many draws every whole run is made on at first.

    One draw is enough where a run has tokens enough not to owe its time to chance.
    """
    tokens = question.batch.num_sequences * question.batch.context_tokens
    return min(num_draws, max(1, min(FEWEST_DRAWS, FIRST_TOKENS // tokens)))


def close_fraction(question: Question) -> float:
    """Return by which fraction the best over all draws may be slower than another on the first
    draws.
    """
    tokens = question.batch.num_sequences * question.batch.context_tokens
    return max(LEAST_CLOSE, CLOSE * min(1.0, sqrt(FIRST_TOKENS / tokens)))
