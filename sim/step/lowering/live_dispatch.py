"""What a dispatch rule is told at a gate of a live run, and what it decides: compiled.

``live`` calls this module once hits are known.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner
from sim.engine.task import NONE
from sim.policies.actions import Action
from sim.policies.dispatch.rule import Rule
from sim.step.lowering.operations import PROMOTE, operate
from sim.step.lowering.slots import ARRIVED, COMING, LATE_USES, NOW_NS, NUM_COMING, QUEUED, STARTED
from sim.step.rules.around import COPIES, LINK_BUSY, ON_CPU, ON_GPU, Beside, LayerCase, Whole
from sim.step.rules.spill_notes import Alike, open_notes, spill_as_noted, write_note
from sim.step.rules.spilling import spill_row
from sim.step.rules.split import split_row

_RESIDENT = int(Action.RESIDENT)
_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_LATE = int(Action.LATE)
_TO_CPU = int(Rule.CPU)
_SPILL = int(Rule.SPILL)
_NONE = NONE
END, LINK, RESULTS = range(3)
"""Places in what ``dispatch_missing`` returns."""


class Enquiry(NamedTuple):
    """A question to a dispatch rule about experts of a layer of that ``shape``.

    ``asked`` are the experts; ``num_misses`` of them are missing. ``tokens`` [expert] are what they
    get, ``num_tokens`` those of the pass. ``other_ns`` is the GPU's work besides routed experts.
    ``copy_ns`` is the time to copy one miss, if all experts have the same number of tokens and are
    copied whole (NONE: they differ). ``busy_ns`` is how long the link is not free.
    """

    shape: Whole
    asked: NDArray[np.int64]
    tokens: NDArray[np.int32]
    other_ns: Whole
    num_tokens: Whole
    num_misses: Whole
    copy_ns: Whole
    busy_ns: Whole


@inner
def copy_left_ns(sheet, cached, layer, expert):
    """Return how much of an awaited expert's copy is believed to be left, in ns.

    A copy that has not begun counts whole; one that has begun counts less the time since its start.
    """
    slot = cached.slots[layer, expert]
    whole = np.int64(sheet.layers[layer].fetch)
    if slot.phase == ARRIVED:
        return np.int64(0)
    if slot.phase == STARTED:
        # It may have been interrupted for what is urgent, which a rule does not see.
        return max(np.int64(0), slot.started_ns + whole - cached.counters[NOW_NS])
    return whole


@inner
def _link_busy_ns(sheet, cached, live):
    """Return how long copies under way hold the link: to their end or to the next border of a
    piece.
    """
    num_experts = cached.slots.shape[1]
    busy = np.int64(0)
    for place in range(cached.counters[NUM_COMING]):
        layer = cached.coming[place] // num_experts
        expert = cached.coming[place] % num_experts
        if cached.slots[layer, expert].phase == STARTED:
            left = copy_left_ns(sheet, cached, layer, expert)
            piece = sheet.layers[layer].fetch // live.rules[0].num_chunks
            if left > 0 and piece > 0:
                busy = max(busy, (left - 1) % piece + 1)
    return busy


@inner
def dispatch_missing(sheet, cached, live, now):
    """Ask the rule about missing experts and about experts on their way.

    Return when the layer (END) and its copies (LINK) are believed to end, in ns, and how many
    experts the CPU computes (RESULTS). An expert on its way is a miss with less to copy: the rule
    may choose the CPU for it. Then a copy that has begun arrives all the same. A copy that has not
    begun is unpinned, so that it may be taken back. The rule CPU waits for all experts on their
    way.
    """
    layer = now.layer
    tokens = sheet.tokens[now.pass_index, layer]
    actions = sheet.actions[now.pass_index, layer]
    shape = sheet.layers[layer].shape
    rule = live.rules[0].dispatch
    other = np.int64(sheet.work[now.pass_index, layer].ffn)
    num_misses = np.int64(0)
    asked = live.asked[: live.num_asked[0]]
    busy = _link_busy_ns(sheet, cached, live)
    is_alike = busy == 0
    for expert in asked:
        live.is_held[expert] = actions[expert] == _RESIDENT
        is_late = actions[expert] == _LATE
        live.is_miss[expert] = tokens[expert] > 0 and (
            actions[expert] == 0 or (is_late and rule != _TO_CPU)
        )
        num_misses += live.is_miss[expert]
        live.copies[expert] = live.believed[COPIES, shape, tokens[expert]]
        is_alike &= not is_late and tokens[expert] == tokens[asked[0]] > 0
        if is_late:
            # No copy has the link before ``busy``, so that the rule counts that once, for all.
            live.copies[expert] = max(0, copy_left_ns(sheet, cached, layer, expert) - busy)
            other += live.believed[ON_GPU, shape, tokens[expert]] if rule == _TO_CPU else 0
    copy = live.copies[asked[0]] if is_alike and len(asked) > 0 else np.int64(_NONE)
    num_tokens = np.int64(sheet.passes[now.pass_index].num_tokens)
    enquiry = Enquiry(shape, asked, tokens, other, num_tokens, num_misses, copy, busy)
    end, link, results = ask(sheet, live, enquiry, actions)
    if rule == _SPILL:
        for expert in asked:
            is_spilled = live.is_held[expert] and actions[expert] == _CPU
            live.spilled[now.pass_index, layer, expert] = is_spilled
    _settle_late(cached, live, layer, tokens, actions)
    return end, link, results


@inner
def ask(sheet, live, enquiry, actions):
    """Have the rule write its actions for the experts asked for.

    ``is_miss``, ``is_held`` and ``copies`` of ``live`` describe these experts. Return the layer's
    end, the link's end (both in ns) and the number of experts on the CPU.
    """
    asked = enquiry.asked
    rule = live.rules[0].dispatch
    if rule == _SPILL and enquiry.copy_ns >= 0 and 0 < len(asked) < live.notes.found.shape[1]:
        return _spill_alike(sheet, live, enquiry, actions)
    _price(live, enquiry)
    case = LayerCase(asked, enquiry.tokens, live.is_miss, live.is_held, live.priced)
    if rule == _SPILL:
        live.fixed[LINK_BUSY] = enquiry.busy_ns
        end = spill_row(case, _beside(sheet, live, enquiry), live.room, actions)
    else:
        other = enquiry.other_ns
        for expert in asked:
            if live.is_held[expert]:
                other += live.priced[ON_GPU, expert]
        end = other
        if enquiry.num_misses > 0:
            end = split_row(rule, case, other, enquiry.busy_ns, actions)
    link = np.int64(enquiry.busy_ns)
    results = 0
    for expert in asked:
        if live.is_miss[expert] and actions[expert] == _FETCH:
            link += live.copies[expert]
        results += enquiry.tokens[expert] > 0 and actions[expert] == _CPU
    return end, link, results


@inner
def _beside(sheet, live, enquiry):
    """What the experts asked for run beside."""
    activations = sheet.activations[enquiry.shape]
    return Beside(enquiry.other_ns, enquiry.num_tokens, activations, live.fixed)


@inner
def _price(live, enquiry):
    """Write the believed prices of the experts asked for, with the copies of ``live``."""
    believed = live.believed
    for expert in enquiry.asked:
        tokens = enquiry.tokens[expert]
        live.priced[ON_CPU, expert] = believed[ON_CPU, enquiry.shape, tokens]
        live.priced[COPIES, expert] = live.copies[expert]
        live.priced[ON_GPU, expert] = believed[ON_GPU, enquiry.shape, tokens]


@inner
def _spill_alike(sheet, live, enquiry, actions):
    """Do what ``ask`` does for experts that differ only in which are missing, while the link is
    free.

    The split is looked up in the notes of an equal case, or noted if there is none.
    """
    asked = enquiry.asked
    each = np.int64(enquiry.tokens[asked[0]])
    alike = Alike(each, enquiry.other_ns, enquiry.num_tokens, enquiry.copy_ns)
    num_misses = enquiry.num_misses
    open_notes(live.notes, enquiry.shape, alike)
    note = live.notes.found[enquiry.shape, num_misses, len(asked) - num_misses]
    if note[0] < 0:
        _price(live, enquiry)
        live.fixed[LINK_BUSY] = 0
        experts = LayerCase(asked, enquiry.tokens, live.is_miss, live.is_held, live.priced)
        end = spill_row(experts, _beside(sheet, live, enquiry), live.room, actions)
        write_note(note, end, asked, live.is_miss, actions)
    spill_as_noted(note, asked, live.is_miss, actions)
    return note[0], (num_misses - note[1]) * enquiry.copy_ns, note[1] + note[2]


@inner
def _settle_late(cached, live, layer, tokens, actions):
    """Promote prefetches that the layer waits for; unpin the experts on their way that go to the
    CPU.
    """
    for expert in live.asked[: live.num_asked[0]]:
        slot = cached.slots[layer, expert]
        if tokens[expert] > 0 and slot.status == COMING:
            if actions[expert] == _CPU:
                slot.pinned_at = _NONE
                continue
            actions[expert] = _LATE
            cached.counters[LATE_USES] += 1
            # One that has begun can no longer be promoted.
            if slot.phase == QUEUED:
                operate(cached, live, np.int64(slot.copy), PROMOTE)
