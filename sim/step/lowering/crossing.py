"""Copies of hidden states from one GPU to another, directly or through the host.

They go to the card of the next layer, and to and from further GPUs that hold experts of a layer.
"""

from typing import NamedTuple

import numpy as np

from sim.engine.compilation import inner
from sim.engine.task import NONE
from sim.policies.actions import Action
from sim.step.lowering.draft import (
    ACROSS,
    D2H,
    FROM_GPU,
    H2D,
    NUM_JOINS,
    STATE_SIZE,
    TO_GPU,
    append_hidden,
    hidden_ns,
    lane_of,
    last_on,
    note_last,
    owner_of,
    wait_for,
)
from sim.step.rules.around import Whole

AWAY = (int(Action.IDLE), int(Action.CPU), int(Action.DEFERRED), int(Action.AHEAD))
"""Actions of experts that no GPU runs."""
_NONE = NONE


class Crossing(NamedTuple):
    """A copy of hidden states from the card of layer ``left`` to the card of layer ``entered``.

    The first card is GPU ``source``, the second GPU ``target``. Both may belong to one layer.
    """

    left: Whole
    entered: Whole
    source: Whole
    target: Whole


@inner
def cross(draft, crossing, tokens):
    """Copy the hidden states of ``tokens`` tokens from one card to another; return the last copy.

    The copy goes directly, or down to the host and up again. The caller has already said what the
    first copy waits for.
    """
    sheet = draft.sheet
    down = lane_of(sheet, D2H, crossing.source)
    is_direct = sheet.run[0].is_direct == 1
    # The card that sends drives a straight copy, with the engine that copies to the host.
    duration_ns = hidden_ns(sheet, ACROSS if is_direct else FROM_GPU, tokens, crossing.left)
    last = append_hidden(draft, down, duration_ns, tokens, crossing.entered)
    if not is_direct:
        wait_for(draft, last)
        duration_ns = hidden_ns(sheet, TO_GPU, tokens, crossing.entered)
        up = lane_of(sheet, H2D, crossing.target)
        last = append_hidden(draft, up, duration_ns, tokens, crossing.entered)
    return last


@inner
def _tokens_on(draft, at, owner, experts):
    """Return how many hidden states the ``experts`` of a layer need on GPU ``owner``, one a token
    at most.
    """
    sheet = draft.sheet
    tokens = 0
    for expert in experts:
        action = sheet.actions[at.pass_index, at.layer, expert]
        if owner_of(sheet, at.layer, expert) == owner and action not in AWAY:
            tokens += sheet.tokens[at.pass_index, at.layer, expert]
    return min(tokens, sheet.passes[at.pass_index].num_tokens)


@inner
def send_across(draft, at, gate, experts):
    """Send each further GPU the hidden states of the tokens that select one of those ``experts``
    there.
    """
    for owner in range(1, draft.sheet.run[0].num_gpus):
        tokens = _tokens_on(draft, at, owner, experts)
        sent = np.int64(_NONE)
        if tokens > 0:
            wait_for(draft, gate)
            sent = cross(draft, Crossing(at.layer, at.layer, 0, owner), tokens)
        draft.state[_sent_slot(draft, owner)] = sent


@inner
def bring_back(draft, at, experts):
    """Bring the results of each further GPU to GPU 0, where the next layer waits for them."""
    for owner in range(1, draft.sheet.run[0].num_gpus):
        if draft.state[_sent_slot(draft, owner)] >= 0:
            wait_for(draft, last_on(draft, owner, _NONE))
            tokens = _tokens_on(draft, at, owner, experts)
            back = cross(draft, Crossing(at.layer, at.layer, owner, 0), tokens)
            note_last(draft, owner, back, _NONE)


@inner
def _sent_slot(draft, owner):
    """Return the index in ``state`` of the copy that brings hidden states to GPU ``owner``."""
    return STATE_SIZE + draft.state[NUM_JOINS] + draft.sheet.run[0].num_gpus + owner - 2


@inner
def hidden_on(draft, owner, gate):
    """Return what a run on a GPU waits for besides weights.

    This is ``gate`` on GPU 0, and on a further GPU the later of ``gate`` and the hidden states'
    copy.
    """
    return gate if owner == 0 else max(gate, draft.state[_sent_slot(draft, owner)])
