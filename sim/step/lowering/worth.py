"""What an expert is worth keeping, by the scores of caches: compiled."""

import numpy as np

from sim.engine.compilation import inner
from sim.policies.cache.score import Score
from sim.step.lowering.slots import ABSENT, RANDOM_STATE, REACH, TICK

_RECENCY = int(Score.RECENCY)
_FREQUENCY = int(Score.FREQUENCY)
_RANDOM = int(Score.RANDOM)
_NEXT_USE = int(Score.NEXT_USE)
_TIMES_VISITS = int(Score.FORECAST_TIMES_VISITS)
_SMOOTHED = int(Score.SMOOTHED_GATE)
_SELECTIVE = int(Score.SELECTIVE_GATE)
TIE_BREAK = 2.0**-32
"""The weight of recency in the score FREQUENCY, where it breaks ties of visits.

Recency weighs less than one visit. The sum is exact, up to 2³² uses and 2²⁰ visits of an expert.
"""


@inner
def worth(cached, now, layer, expert):
    """How much an expert of any layer is worth keeping, at the moment ``now``."""
    score = cached.rules[0].score
    slot = cached.slots[layer, expert]
    if score in (_RECENCY, _SMOOTHED, _SELECTIVE):
        return cached.scores[layer, expert]
    if score == _FREQUENCY:
        return slot.visits + cached.scores[layer, expert] * TIE_BREAK
    if score == _RANDOM:
        return random_fraction(cached.counters)
    if score == _NEXT_USE:
        # A layer that is behind is next used in a later pass; there is a row behind the last pass.
        from_pass = now.pass_index if layer > now.layer else now.pass_index + 1
        num_layers = cached.slots.shape[0]
        return -float(cached.next_use[from_pass, layer, expert] * num_layers + layer)
    share = float(cached.forecast[forecast_row(cached, now, layer), layer, expert])
    if score == _TIMES_VISITS:
        # Coming in counts as a visit: else what is fetched ahead for the first time leaves first.
        return share * max(slot.visits, 1)
    return share * (1.0 - layer / cached.slots.shape[0])


@inner
def forecast_row(cached, now, layer):
    """Return the row of ``forecast`` that is valid for a layer.

    Row 0 is the forecast before the first pass. The last row serves all passes after it.
    """
    # A pass's own forecast reaches only that many layers ahead of the gate that it is made at.
    row = now.pass_index + 1 if layer <= now.layer + cached.counters[REACH] else now.pass_index
    return min(row, len(cached.forecast) - 1)


@inner
def random_fraction(counters):
    """The next of a seeded sequence (xorshift64) in [0, 1)."""
    # numba's own generator is hidden state of a thread, which no seed of a run sets.
    state = np.uint64(counters[RANDOM_STATE])
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    counters[RANDOM_STATE] = np.int64(state)
    return float(state >> np.uint64(11)) * 2.0**-53


@inner
def note_gate(cached, now, asked, tokens):
    """Tell the scores of a layer which experts its gate has selected: those of ``asked`` with
    tokens.

    Held and awaited experts are told first, then the missing ones.
    """
    layer = now.layer
    for expert in asked:
        cached.slots[layer, expert].visits += tokens[expert] > 0
    if cached.rules[0].score in (_SMOOTHED, _SELECTIVE):
        _smooth(cached, now)
        return
    # The missing are noted last: what is about to be fetched counts as the most recent of all.
    for is_missing in (False, True):
        for expert in asked:
            if tokens[expert] > 0 and (cached.slots[layer, expert].status == ABSENT) == is_missing:
                note_use(cached, layer, expert)


@inner
def _smooth(cached, now):
    """Set the scores of a layer to S = alpha · TopP(s) + (1 − alpha) · S (HybriMoE, arXiv
    2504.05897).

    TopP keeps the ``kept`` largest shares of s.
    """
    rules = cached.rules[0]
    shares = cached.gates[now.pass_index, now.layer]
    scores = cached.scores[now.layer]
    for expert in range(len(scores)):
        scores[expert] *= 1.0 - rules.alpha
    for expert in range(len(shares)):
        # Few shares are above 0, so that counting who is larger takes less time than sorting all.
        if shares[expert] > 0:
            num_larger = 0
            for other in range(len(shares)):
                num_larger += shares[other] > shares[expert]
            if num_larger < rules.kept:
                scores[expert] += rules.alpha * shares[expert]


@inner
def note_use(cached, layer, expert):
    """Note that an expert is the most recently used from now on."""
    cached.counters[TICK] += 1
    cached.scores[layer, expert] = cached.counters[TICK]


@inner
def note_arrival(cached, layer, expert):
    """Note a prefetched expert as the most recently used; else it would leave before its use."""
    # Smoothed gates have a score for every expert, on the GPU or not, and nothing to add to it.
    if cached.rules[0].score not in (_SMOOTHED, _SELECTIVE):
        note_use(cached, layer, expert)
