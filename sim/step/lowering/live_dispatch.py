"""What a dispatch rule is told at a gate of a live run, and what it says: compiled.

``live`` calls it once hits are known.
"""

import numpy as np

from sim.engine.compilation import inner
from sim.engine.task import NONE
from sim.policies.actions import Action
from sim.policies.dispatch.rule import Rule
from sim.step.lowering.operations import PROMOTE, operate
from sim.step.lowering.slots import ARRIVED, COMING, LATE_USES, NOW_NS, NUM_COMING, QUEUED, STARTED
from sim.step.rules.spilling import LINK_BUSY, note_spill, spill_as_noted, spill_row
from sim.step.rules.split import split_row

_RESIDENT = int(Action.RESIDENT)
_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_LATE = int(Action.LATE)
_TO_CPU = int(Rule.CPU)
_SPILL = int(Rule.SPILL)
_NONE = NONE
_ON_CPU, _COPIES, _ON_GPU = range(3)
END, LINK, RESULTS = range(3)
"""Places in what ``dispatch_missing`` returns."""


@inner
def copy_left_ns(sheet, cached, layer, expert):
    """What is believed to be left of the copy of an awaited expert: all of it, or what its time
    since it began leaves.
    """
    slot = cached.slots[layer, expert]
    whole = np.int64(sheet.layers[layer].fetch)
    if slot.phase == ARRIVED:
        return np.int64(0)
    if slot.phase == STARTED:
        return max(np.int64(0), slot.started_ns + whole - cached.counters[NOW_NS])
    return whole


@inner
def _link_busy_ns(sheet, cached, live):
    """How long a copy under way holds the link: to its end, or to the next border of its pieces."""
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
def dispatch_missing(sheet, cached, live, index, layer):
    """Ask the rule about misses and experts still on their way.

    Returns when the layer (END) and its copies (LINK) are believed to end, in ns, and how many
    experts the CPU computes (RESULTS). One on its way is a miss with less to copy: the rule may
    prefer the CPU for it. What has begun to be copied then arrives all the same; what has not is
    unpinned, so that it may be taken back. With the rule CPU those on their way are waited for.
    """
    tokens = sheet.tokens[index, layer]
    actions = sheet.actions[index, layer]
    shape = sheet.layers[layer].shape
    rule = live.rules[0].dispatch
    other = np.int64(sheet.work[index, layer].ffn)
    num_misses = 0
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
        live.copies[expert] = live.believed[_COPIES, shape, tokens[expert]]
        is_alike &= not is_late and tokens[expert] == tokens[asked[0]] > 0
        if is_late:
            live.copies[expert] = max(0, copy_left_ns(sheet, cached, layer, expert) - busy)
            other += live.believed[_ON_GPU, shape, tokens[expert]] if rule == _TO_CPU else 0
    copy = live.copies[asked[0]] if is_alike and len(asked) > 0 else np.int64(_NONE)
    end, link, results = ask(
        sheet,
        live,
        shape,
        asked,
        tokens,
        other,
        sheet.passes[index].num_tokens,
        num_misses,
        copy,
        busy,
        actions,
    )
    if rule == _SPILL:
        for expert in asked:
            live.spilled[index, layer, expert] = live.is_held[expert] and actions[expert] == _CPU
    _settle_late(cached, live, layer, tokens, actions)
    return end, link, results


@inner
def ask(sheet, live, shape, asked, tokens, other, num_tokens, num_misses, copy, busy, actions):
    """Have the rule write its actions for the experts ``asked`` for, as ``is_miss``, ``is_held``
    and ``copies`` of ``live`` say.

    Returns the layer's end, what is left to the link, both in ns, and how many experts to the CPU.
    ``other``: the GPU's work besides routed experts; ``busy``: how long the link is not free;
    ``copy``: the one of every miss, where all experts have as many tokens (NONE: they differ).
    """
    if live.rules[0].dispatch == _SPILL and copy >= 0 and 0 < len(asked) < live.notes.shape[1]:
        return _spill_alike(
            sheet, live, shape, asked, tokens, other, num_tokens, num_misses, copy, actions
        )
    _price(live, shape, asked, tokens)
    if live.rules[0].dispatch == _SPILL:
        live.fixed[LINK_BUSY] = busy
        end = spill_row(
            asked,
            tokens,
            live.is_miss,
            live.is_held,
            live.priced,
            other,
            num_tokens,
            sheet.activations,
            live.fixed,
            live.room,
            actions,
        )
    else:
        for expert in asked:
            if live.is_held[expert]:
                other += live.priced[_ON_GPU, expert]
        end = other
        if num_misses > 0:
            on_cpu = live.priced[_ON_CPU]
            copies = live.priced[_COPIES]
            on_gpu = live.priced[_ON_GPU]
            end = split_row(
                live.rules[0].dispatch,
                asked,
                tokens,
                live.is_miss,
                on_cpu,
                copies,
                on_gpu,
                other,
                busy,
                actions,
            )
    link = np.int64(busy)
    results = 0
    for expert in asked:
        if live.is_miss[expert] and actions[expert] == _FETCH:
            link += live.copies[expert]
        results += tokens[expert] > 0 and actions[expert] == _CPU
    return end, link, results


@inner
def _price(live, shape, asked, tokens):
    """Fill in what is believed of the experts asked for, with their own copies."""
    for expert in asked:
        live.priced[_ON_CPU, expert] = live.believed[_ON_CPU, shape, tokens[expert]]
        live.priced[_COPIES, expert] = live.copies[expert]
        live.priced[_ON_GPU, expert] = live.believed[_ON_GPU, shape, tokens[expert]]


@inner
def _spill_alike(sheet, live, shape, asked, tokens, other, num_tokens, num_misses, copy, actions):
    """As ``ask``, for experts that differ only in who is missing, the link being free.

    Then a spill depends on how many miss and hit alone, and of both the lowest numbers go to the
    CPU: so the ends are noted, for one case of each layer shape at a time. So it is in decoding one
    sequence, and above all in simulating the layers ahead of each gate.
    """
    case = live.cases[shape]
    each = np.int64(tokens[asked[0]])
    if case[0] != each or case[1] != other or case[2] != num_tokens or case[3] != copy:
        case[0] = each
        case[1] = other
        case[2] = num_tokens
        case[3] = copy
        live.notes[shape] = -1
    note = live.notes[shape, num_misses, len(asked) - num_misses]
    if note[0] < 0:
        _price(live, shape, asked, tokens)
        live.fixed[LINK_BUSY] = 0
        note[0] = spill_row(
            asked,
            tokens,
            live.is_miss,
            live.is_held,
            live.priced,
            other,
            num_tokens,
            sheet.activations,
            live.fixed,
            live.room,
            actions,
        )
        note_spill(asked, live.is_miss, actions, note[1:])
    spill_as_noted(note[1:], asked, live.is_miss, actions)
    return note[0], (num_misses - note[1]) * copy, note[1] + note[2]


@inner
def _settle_late(cached, live, layer, tokens, actions):
    """Promote what stays late; unpin what goes to the CPU."""
    for expert in live.asked[: live.num_asked[0]]:
        slot = cached.slots[layer, expert]
        if tokens[expert] > 0 and slot.status == COMING:
            if actions[expert] == _CPU:
                slot.pinned_at = _NONE
                continue
            actions[expert] = _LATE
            cached.counters[LATE_USES] += 1
            if slot.phase == QUEUED:
                operate(cached, live, slot.copy, PROMOTE)
